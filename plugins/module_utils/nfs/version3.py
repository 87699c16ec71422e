"""Whether a board needs NFSv3, and with it rpcbind: NFSv4 needs neither. Standard library only: it runs on boards."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.edge_ai.cluster.plugins.module_utils.files import text_of
from ansible_collections.edge_ai.cluster.plugins.module_utils.mounts import NFS, Mount, mounts_of
from ansible_collections.edge_ai.cluster.plugins.module_utils.nfs.exports import foreign_exports


def version3_users(own: Path, etc: Path = Path("/etc"), mounts: Path = Path("/proc/self/mounts")) -> list[str]:
    """What on this board may use NFSv3: exports other than `own`, mounts, and lines of fstab that leave it open.

    Exports count whatever version their clients use: the exports file does not say it.
    """
    users = [f"{each['file']} exports {each['path']}" for each in foreign_exports(own, etc)]
    mounted = {mount.point: mount for mount in mounts_of(text_of(mounts)) if mount.kind in NFS}
    users += [f"{point} is mounted by NFSv3" for point, mount in mounted.items() if not _is_version4(mount)]
    return users + [
        f"{etc / 'fstab'} mounts {mount.point} by whatever version its server offers"
        for mount in mounts_of(text_of(etc / "fstab"))
        if mount.kind in NFS and mount.point not in mounted and not _is_version4(mount)
    ]


def _is_version4(mount: Mount) -> bool:
    """Whether it is NFSv4: older kernels show that as nfs, with its version among the options, as fstab may have it."""
    return mount.kind == "nfs4" or any(each.startswith(("vers=4", "nfsvers=4")) for each in mount.options)
