"""Whether a board needs NFSv3, and with it rpcbind: NFSv4 needs neither. Standard library only: it runs on boards."""

from __future__ import annotations

import re
from pathlib import Path

from ansible_collections.edge_ai.cluster.plugins.module_utils.files import text_of
from ansible_collections.edge_ai.cluster.plugins.module_utils.nfs.exports import OWN_FILE, foreign_exports


def version3_users(
    own: Path = OWN_FILE, etc: Path = Path("/etc"), mounts: Path = Path("/proc/self/mounts")
) -> list[str]:
    """What on this board may use NFSv3: exports other than `own`, mounts, and lines of fstab that leave it open.

    Exports count whatever version their clients use: the exports file does not say it.
    """
    users = [f"{each['file']} exports {each['path']}" for each in foreign_exports(own, etc)]
    mounted: dict[str, str] = {}
    for line in text_of(mounts).splitlines():
        fields = line.split()
        if len(fields) > 2 and fields[2] in ("nfs", "nfs4"):
            # Older kernels show NFSv4 as nfs, with its version among the options.
            mounted[fields[1]] = "nfs4" if fields[2] == "nfs4" or re.search(r"\bvers=4", line) else "nfs"
    users += [f"{place} is mounted by NFSv3" for place, kind in mounted.items() if kind == "nfs"]
    for line in text_of(etc / "fstab").splitlines():
        fields = line.split("#")[0].split()
        if len(fields) < 3 or fields[2] != "nfs" or fields[1] in mounted:
            continue
        options = fields[3] if len(fields) > 3 else ""
        if not re.search(r"(^|,)(nfs)?vers=4", options):
            users.append(f"{etc / 'fstab'} mounts {fields[1]} by whatever version its server offers")
    return users
