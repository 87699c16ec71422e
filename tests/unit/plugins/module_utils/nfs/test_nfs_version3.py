"""What on a board may use NFSv3, and so rpcbind."""

from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.nfs.version3 import version3_users

OURS = '# Managed by Ansible\n"/srv/books" 10.0.0.11(rw,fsid=0)\n'


def users(tmp_path: Path, exports: str = "", mounts: str = "", fstab: str = "") -> list[str]:
    etc = tmp_path / "etc"
    (etc / "exports.d").mkdir(parents=True)
    own = etc / "exports.d" / "edge-ai-cluster.exports"
    own.write_text(OURS)
    (etc / "exports").write_text(exports)
    (etc / "fstab").write_text(fstab)
    (tmp_path / "mounts").write_text(mounts)
    return [each.replace(f"{etc}/", "") for each in version3_users(own, etc, tmp_path / "mounts")]


def test_our_export_and_pods_that_mount_it_need_no_version_3(tmp_path: Path) -> None:
    pods = "10.0.0.11:/ /var/lib/kubelet/pods/1/nfs nfs4 rw,vers=4.2,hard,addr=10.0.0.11 0 0\n"
    assert users(tmp_path, exports="# /srv/old *(rw)\n", mounts=pods, fstab="PARTUUID=1 / ext4 defaults 0 1\n") == []


def test_a_board_without_any_file_needs_none(tmp_path: Path) -> None:
    assert version3_users(tmp_path / "own", tmp_path, tmp_path / "mounts") == []


def test_exports_of_others_count_whatever_version_their_clients_use(tmp_path: Path) -> None:
    assert users(tmp_path, exports="/srv/music *(ro)\n") == ["exports exports /srv/music"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("nas:/a /mnt/a nfs rw,vers=3,proto=tcp 0 0", ["/mnt/a is mounted by NFSv3"]),
        ("nas:/a /mnt/a nfs rw,vers=4.0 0 0", []),
        ("nas:/a /mnt/a nfs4 rw,vers=4.2 0 0", []),
    ],
)
def test_mounts(tmp_path: Path, line: str, found: list[str]) -> None:
    assert users(tmp_path, mounts=f"proc /proc proc rw 0 0\n{line}\n") == found


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ("nas:/a /mnt/a nfs defaults 0 0", True),
        ("nas:/a /mnt/a nfs", True),
        ("nas:/a /mnt/a nfs noauto,nfsvers=3 0 0", True),
        ("nas:/a /mnt/a nfs ro,nfsvers=4.2 0 0", False),
        ("nas:/a /mnt/a nfs vers=4 0 0", False),
        ("nas:/a /mnt/a nfs4 defaults 0 0", False),
        ("# nas:/a /mnt/a nfs defaults 0 0", False),
    ],
)
def test_lines_of_fstab(tmp_path: Path, line: str, counts: bool) -> None:
    assert bool(users(tmp_path, fstab=line)) is counts


def test_a_line_of_fstab_that_is_mounted_counts_by_its_mount(tmp_path: Path) -> None:
    mounts = "nas:/a /mnt/a nfs4 rw,vers=4.2 0 0\n"
    assert users(tmp_path, mounts=mounts, fstab="nas:/a /mnt/a nfs defaults 0 0\n") == []
