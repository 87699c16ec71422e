#!/usr/bin/python
"""Ansible module: everything the nfs_server role wants to know of its board, in one go."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nfs_server_probe
short_description: State of the NFS server, without changing anything
description:
  - Reads the server's unit, the exported directory and its owner, and every exports file.
options:
  directory: {description: "Exported directory.", type: path, required: true}
  exports_file: {description: "The role's own file in exports.d.", type: path, required: true}
  config_file: {description: "The role's own file in nfs.conf.d.", type: path, required: true}
  stamp_file: {description: "What was last verified.", type: path, required: true}
  user: {description: "Name of the user files belong to.", type: str, required: true}
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.nfs_server_probe:
    directory: /srv/books
    exports_file: /etc/exports.d/edge-ai-cluster.exports
    config_file: /etc/nfs.conf.d/edge-ai-cluster.conf
    stamp_file: /run/edge-ai-cluster/nfs-verified
    user: books
"""
RETURN = r"""
server: {description: "What was found.", type: dict, returned: always}
"""

import grp
import pwd
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule


def text_of(path: str | Path) -> str:
    """A small file's text; empty when it is not there."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def export_lines(text: str) -> list[str]:
    """Lines of an exports file with continuations joined and comments gone."""
    joined = text.replace("\\\n", " ")
    return [line.strip() for line in (re.sub(r"#.*", "", raw) for raw in joined.splitlines()) if line.strip()]


def exported_path(line: str) -> str:
    """Path of an exports line, which may be quoted and hold octal escapes for blanks."""
    match = re.match(r'"([^"]+)"|(\S+)', line)
    path = (match[1] or match[2]) if match else ""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), path)


def is_root_export(line: str) -> bool:
    """Whether a line claims the NFSv4 root, of which there can be one."""
    return bool(re.search(r"[(,](fsid=0|fsid=root)[,)]", line.replace(" ", "")))


def foreign_exports(own: Path, root: Path = Path("/etc")) -> list[dict[str, Any]]:
    """Everybody else's export lines: file, path, whether it is the NFSv4 root."""
    files = [root / "exports", *sorted((root / "exports.d").glob("*.exports"))]
    return [
        {"file": str(file), "path": exported_path(line), "root": is_root_export(line)}
        for file in files
        if file != own
        for line in export_lines(text_of(file))
    ]


def unit(name: str) -> dict[str, str]:
    """Properties of a systemd unit."""
    if not shutil.which("systemctl"):
        return {}
    shown = subprocess.run(
        ["systemctl", "show", name, "-p", "ActiveState,UnitFileState,InvocationID"],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


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


def main() -> None:
    """Entry point."""
    path = {"type": "path", "required": True}
    module = AnsibleModule(
        argument_spec={
            "directory": path,
            "exports_file": path,
            "config_file": path,
            "stamp_file": path,
            "user": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    directory = Path(given["directory"])
    active = [line for line in text_of("/var/lib/nfs/etab").splitlines() if exported_path(line) == str(directory)]
    server = {
        "installed": Path("/usr/sbin/exportfs").exists(),
        "unit": unit("nfs-server.service"),
        "account": account(given["user"]),
        "directory": directory_state(directory),
        "exports": text_of(given["exports_file"]),
        "config": text_of(given["config_file"]),
        "foreign": foreign_exports(Path(given["exports_file"])),
        "active_clients": sorted(re.findall(r"\s([^\s(]+)\(", "\n".join(active))),
        "versions": text_of("/proc/fs/nfsd/versions").split(),
        "boot_id": text_of("/proc/sys/kernel/random/boot_id").strip(),
        # A fresh image has no package lists, however young their directory is.
        "package_lists": any(Path("/var/lib/apt/lists").glob("*Release")),
        "stamp": text_of(given["stamp_file"]).strip(),
    }
    module.exit_json(changed=False, server=server)


if __name__ == "__main__":
    main()
