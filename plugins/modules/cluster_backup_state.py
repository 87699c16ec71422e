#!/usr/bin/python
"""Ansible module: report what a board has to back up, or what a restore would overwrite."""

# Runs on the board with the board's Python and nothing but the standard library.

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_backup_state
short_description: Report the datastore of k3s and the NFS export of this board
description:
  - Changes nothing, and runs nothing but C(k3s --version).
options:
  data_dir: {description: Data directory of k3s., type: path, required: true}
  binary: {description: The k3s binary whose version is returned., type: path}
  export: {description: Directory whose content is the data; empty for none., type: str, default: ''}
author: Edge AI Cluster
"""

EXAMPLES = r"""
- name: Get the state of the export
  edge_ai.cluster.cluster_backup_state:
    data_dir: /var/lib/rancher/k3s
    export: /srv/books
"""

RETURN = r"""
version: {description: Version of the installed k3s; empty when there is none., type: str, returned: always}
datastore: {description: "sqlite, etcd, or none.", type: str, returned: always}
server: {description: Whether there is anything of a server at all., type: bool, returned: always}
ca_sha256: {description: Hash of the CA in the server's token; empty when there is none., type: str, returned: always}
restored_from: {description: "What a restore left: stamp and digest of its manifest.", type: str, returned: always}
snapshot: {description: Whether there is a restored etcd snapshot that was not used yet., type: bool, returned: always}
bytes: {description: Size of the datastore and of the export., type: dict, returned: always}
free:
  description: Bytes that a restore may use at the data directory and at the export.
  type: dict
  returned: always
files: {description: Number of files in the export., type: int, returned: always}
digest: {description: "SHA-256 of names, sizes and times of its files.", type: str, returned: always}
empty: {description: Whether the export holds nothing., type: bool, returned: always}
resuming: {description: Stamps of restores of the export that were interrupted., type: list, returned: always}
restart_pods: {description: Whether no run has stopped the pods since data was restored., type: bool, returned: always}
"""

import hashlib
import itertools
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils.backup.packing import DEPTH, MOST
from ansible_collections.edge_ai.cluster.plugins.module_utils.backup.stream import (
    ASIDE,
    RESTART,
    STAGING,
    STAMP,
    not_data,
)
from ansible_collections.edge_ai.cluster.plugins.module_utils.files import free_at, text_of
from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s import token, version


def listed(root: Path, skip: tuple[str, ...] = ()) -> tuple[int, int, str]:
    """Bytes and number of the files below `root`, and a digest of names, sizes and times (seconds) of regular ones.

    The bytes are those that the disk has, each once: a file may have holes, and several names. Entries at its top that
    begin with `skip` are left out, as is what a client's NFS keeps of deleted files, and what a backup leaves out:
    what lies too deep, and folders with more entries than it may still hold.
    """
    total = count = 0
    digest = hashlib.sha256()
    linked: set[tuple[int, int]] = set()
    # As packing.Packer counts them.
    left, waiting = MOST - 2, [""]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(root / folder) as entries:
                wanted = (each.name for each in entries if folder or not each.name.startswith(skip))
                found = sorted(itertools.islice(wanted, left + 1))
        except OSError:  # gone meanwhile, or its path is too long
            continue
        if len(found) > left:
            continue
        left -= len(found)
        below = []
        for name in found:
            path = f"{folder}/{name}" if folder else name
            try:
                status = (root / path).lstat()
            except OSError:
                continue
            if stat.S_ISDIR(status.st_mode):
                below.append(path)
                continue
            count += 1
            if status.st_nlink == 1 or (status.st_dev, status.st_ino) not in linked:
                total += min(status.st_size, status.st_blocks * 512)
                if status.st_nlink > 1:
                    linked.add((status.st_dev, status.st_ino))
            if stat.S_ISREG(status.st_mode) and not name.startswith(".nfs"):
                digest.update(f"{path}\0{status.st_size}\0{int(status.st_mtime)}\0".encode(errors="surrogateescape"))
        if folder.count("/") + bool(folder) < DEPTH:
            waiting += reversed(below)
    return total, count, digest.hexdigest()


def made_by_restore(path: Path) -> bool:
    """Whether a restore made this folder; a notebook can only make one that is not root's."""
    found = path.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def freed(path: Path) -> int:
    """Bytes that the next restore frees: what an interrupted one left half unpacked."""
    return listed(path)[0] if path.is_dir() and made_by_restore(path) else 0


def interrupted(path: Path) -> bool:
    """Whether a restore that was interrupted left this folder."""
    is_staging = path.name.startswith(STAGING) and STAMP.fullmatch(path.name.removeprefix(STAGING))
    return bool(is_staging) and made_by_restore(path)


def state_of_export(export: Path) -> dict[str, Any]:
    """What a restore has to know about an export, which may not exist yet."""
    size, files, digest = listed(export, (STAGING, ASIDE, "lost+found"))
    empty, resuming = True, []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(export) as entries:
        for each in entries:
            empty = empty and not_data(each.name)
            if interrupted(export / each.name):
                resuming.append(each.name.removeprefix(STAGING))
    restart = export / RESTART
    return {
        "bytes": size,
        "free": free_at(export) + freed(export / f"{STAGING}part"),
        "files": files,
        "digest": digest,
        "empty": empty,
        "resuming": sorted(resuming),
        "restart_pods": os.path.lexists(restart) and made_by_restore(restart),
    }


NO_EXPORT = {"bytes": 0, "free": 0, "files": 0, "digest": "", "empty": True, "resuming": [], "restart_pods": False}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "data_dir": {"type": "path", "required": True},
            "binary": {"type": "path"},
            "export": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    data = Path(module.params["data_dir"])
    export = state_of_export(Path(module.params["export"])) if module.params["export"] else dict(NO_EXPORT)
    server = data / "server"
    binary = module.params["binary"]
    known = token.parse(text_of(server / "token"))
    etcd, sqlite = (server / "db/etcd").is_dir(), (server / "db/state.db").is_file()
    result: dict[str, Any] = {
        "version": (version.installed(Path(binary)) if binary else None) or "",
        "datastore": "etcd" if etcd else "sqlite" if sqlite else "none",
        "server": server.exists(),
        "ca_sha256": known.ca_sha256 if known else "",
        "snapshot": (server / "db/restored-snapshot").exists(),
        "restored_from": text_of(server / ".restored-from").strip(),
        "bytes": {"server": listed(server)[0], "data": export.pop("bytes")},
        "free": {"server": free_at(data) + freed(data / "server.restoring"), "data": export.pop("free")},
        **export,
    }
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
