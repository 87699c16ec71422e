#!/usr/bin/python
"""Ansible module: report the state of the NFS server in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nfs_server_info
short_description: Report the state of the NFS server
description:
  - Reads the server's unit, the addresses it listens on, the exported directory and its owner, and every exports file.
options:
  address: {description: "Address that the server must listen on.", type: str, required: true}
  directory: {description: "Exported directory.", type: path, required: true}
  exports_file: {description: "The role's own file in exports.d.", type: path, required: true}
  config_file: {description: "The role's own file in nfs.conf.d.", type: path, required: true}
  unit_file: {description: "The role's own drop-in of nfs-server.service.", type: path, required: true}
  stamp_file: {description: "What was last verified.", type: path, required: true}
  user: {description: "Name of the user files belong to.", type: str, required: true}
  file: {description: "File with the file system that is exported.", type: path, required: true}
  moving: {description: "Where its data waits while it becomes a file system.", type: path, required: true}
  device: {description: "Device with the file system that is exported; empty for none.", type: str, default: ''}
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.nfs_server_info:
    address: 192.168.1.11
    directory: /srv/books
    exports_file: /etc/exports.d/edge-ai-cluster.exports
    config_file: /etc/nfs.conf.d/edge-ai-cluster.conf
    unit_file: /etc/systemd/system/nfs-server.service.d/edge-ai-cluster.conf
    stamp_file: /run/edge-ai-cluster/nfs-verified
    user: books
    file: /srv/books.img
    moving: /srv/books.moving
"""
RETURN = r"""
server: {description: "What was found.", type: dict, returned: always}
"""

import grp
import ipaddress
import pwd
import re
import socket
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils.command import completed, unit
from ansible_collections.edge_ai.cluster.plugins.module_utils.files import free_at, text_of
from ansible_collections.edge_ai.cluster.plugins.module_utils.nfs.exports import ETAB, active_clients, foreign_exports


def directory_state(path: Path) -> dict[str, Any]:
    """Owner, mode and kind of the exported directory."""
    if path.is_symlink() or not path.exists():
        return {"exists": False, "symlink": path.is_symlink(), "directory": False, "empty": True, "mountpoint": False}
    status = path.stat()
    return {
        "exists": True,
        "symlink": False,
        "directory": path.is_dir(),
        "empty": path.is_dir() and not any(entry.name != "lost+found" for entry in path.iterdir()),
        "mountpoint": path.is_mount(),
        "uid": status.st_uid,
        "gid": status.st_gid,
        "mode": f"{status.st_mode & 0o7777:04o}",
    }


def ext4_state(path: Path) -> dict[str, bool]:
    """Whether there is ext4 on a device or in a file, and whether it counts by projects, from its superblock."""
    with path.open("rb") as file:
        file.seek(1024)
        superblock = file.read(1024)
    # mkfs writes the magic number last.
    formatted = superblock[56:58] == b"\x53\xef"
    # RO_COMPAT_PROJECT and RO_COMPAT_QUOTA.
    features = int.from_bytes(superblock[100:104], "little") if formatted else 0
    return {"formatted": formatted, "projects": features & 0x2100 == 0x2100}


def file_state(path: Path) -> dict[str, Any]:
    """Size of the file with a file system, and whether there is one in it yet."""
    if not path.is_file():
        return {"exists": False, "bytes": 0, "formatted": False, "projects": False}
    return {"exists": True, "bytes": path.stat().st_size, **ext4_state(path)}


def device_state(path: str) -> dict[str, Any]:
    """Whether there is such a device, and what it holds: `ext4`, another file system, or `parted` for partitions."""
    if not path or not Path(path).is_block_device():
        return {"exists": False, "holds": "", "label": "", "used": False, "projects": False}
    probed = completed("blkid", "-p", "-o", "export", path)
    found = dict(line.split("=", 1) for line in probed.output.splitlines() if "=" in line)
    holds = found.get("TYPE") or ("parted" if "PTTYPE" in found else "")
    # Ambiguous is not empty: 0 is for one answer, 2 for none.
    if not holds and probed.status not in (0, 2):
        holds = "several file systems"
    return {
        "exists": True,
        "holds": holds,
        "label": found.get("LABEL", ""),
        "used": bool(completed("lsblk", "-nro", "MOUNTPOINTS", path).output.strip()),
        "projects": ext4_state(Path(path))["projects"],
    }


def has_quotas() -> bool:
    """Whether this kernel counts files by projects: it refuses a file system that has such quotas otherwise."""
    return completed("modprobe", "--dry-run", "--quiet", "quota_v2").status == 0


def volume_state(directory: Path, file: Path, moving: Path, device: str) -> dict[str, Any]:
    """What the directory is, or can be, a file system of its own on."""
    named = completed("systemd-escape", "--path", "--suffix=mount", str(directory)).output.strip()
    state = unit(named, "ActiveState,UnitFileState") if named else {}
    return {
        "unit": named,
        "unit_text": text_of(f"/etc/systemd/system/{named}"),
        "active": state.get("ActiveState", ""),
        "enabled": state.get("UnitFileState", ""),
        "file": file_state(file),
        "device": device_state(device),
        "quotas": has_quotas(),
        # Data that is being moved into the file system, or waits for that since a run was interrupted.
        "moving": moving.is_dir(),
        "free": free_at(directory.parent),
    }


def account(name: str) -> dict[str, int | str]:
    """uid of a user and gid of the group of the same name, -1 when there is none."""
    try:
        uid = pwd.getpwnam(name).pw_uid
    except KeyError:
        uid = -1
    try:
        gid = grp.getgrnam(name).gr_gid
    except KeyError:
        gid = -1
    return {"uid": uid, "gid": gid}


def listening_addresses(table: str, port: int) -> list[str]:
    """Local addresses that a port is listened on, in what `ss` shows; without brackets and interface."""
    found = set()
    for line in table.splitlines():
        fields = line.split()
        if len(fields) > 4 and fields[4].endswith(f":{port}"):
            found.add(re.sub(r"[\[\]]|%.*", "", fields[4].rpartition(":")[0]))
    return sorted(found)


def address_kind(text: str) -> str:
    """`own` for an address of this board, `foreign` for another machine's, `none` for what is no address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "none"
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        try:
            udp.bind((text, 0))
        except OSError:
            return "foreign"
    return "own"


def main() -> None:
    """Entry point."""
    path = {"type": "path", "required": True}
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "required": True},
            "directory": path,
            "exports_file": path,
            "config_file": path,
            "unit_file": path,
            "stamp_file": path,
            "user": {"type": "str", "required": True},
            "file": path,
            "moving": path,
            "device": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    given = module.params
    directory = Path(given["directory"])
    active = active_clients(text_of(ETAB), str(directory))
    try:
        # Of TCP and UDP, those of the kernel included, with their programs.
        sockets = completed("ss", "-Hlntup").output
        volume = volume_state(directory, Path(given["file"]), Path(given["moving"]), given["device"])
    except TimeoutError as error:
        module.fail_json(msg=str(error))
    server = {
        "installed": Path("/usr/sbin/exportfs").exists(),
        "unit": unit("nfs-server.service", "ActiveState,UnitFileState,InvocationID"),
        "account": account(given["user"]),
        "directory": directory_state(directory),
        "volume": volume,
        "exports": text_of(given["exports_file"]),
        "config": text_of(given["config_file"]),
        "unit_text": text_of(given["unit_file"]),
        "address": address_kind(given["address"]),
        "listens": listening_addresses(sockets, 2049),
        # With NFSv4 alone it only serves the kernel.
        "mountd_listens": "rpc.mountd" in sockets,
        "foreign": foreign_exports(Path(given["exports_file"])),
        "active_clients": sorted(client.partition("(")[0] for client in active),
        "versions": text_of("/proc/fs/nfsd/versions").split(),
        "boot_id": text_of("/proc/sys/kernel/random/boot_id").strip(),
        # A fresh image has no package lists, however young their directory is.
        "package_lists": any(Path("/var/lib/apt/lists").glob("*Release")),
        "stamp": text_of(given["stamp_file"]).strip(),
    }
    module.exit_json(changed=False, server=server)


if __name__ == "__main__":
    main()
