"""Homes on the export that notebooks write to. The kernel's quotas are tried on a board (tests/ingress)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.nfs import homes, quota
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import Refused

MIB = 1 << 20


@dataclass
class Kernel:
    """What a kernel would keep: the project of each file, and the quota of each project."""

    projects: dict[int, tuple[int, bool]] = field(default_factory=dict)
    quotas: dict[int, quota.Quota] = field(default_factory=dict)
    has_quotas: bool = True

    def project(self, descriptor: int) -> int:
        return self.projects.get(os.fstat(descriptor).st_ino, (0, False))[0]

    def set_project(self, descriptor: int, number: int, inherit: bool) -> bool:
        self.projects[os.fstat(descriptor).st_ino] = (number, inherit)
        return True

    def quota(self, _folder: Path, number: int) -> quota.Quota | None:
        return self.quotas.get(number, quota.Quota()) if self.has_quotas else None

    def set_quota(self, _folder: Path, number: int, limit_kib: int, limit_files: int) -> bool:
        self.quotas[number] = quota.Quota(limit_kib, limit_files)
        return True


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    for name in ("project", "set_project", "quota", "set_quota"):
        monkeypatch.setattr(homes.quota, name, getattr(kernel, name))
    return kernel


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """An export of its user, in a directory that this user may enter."""
    export = tmp_path / "books"
    export.mkdir()
    if os.geteuid() == 0:
        for parent in (tmp_path, *tmp_path.parents):
            if parent.stat().st_uid == 0 and parent.stat().st_mode & 0o777 == 0o700:
                parent.chmod(0o711)
        os.chown(export, 10001, 10001)
    return export


def test_a_home_is_the_owners_and_created_once(export: Path) -> None:
    assert homes.create(export, "alice") is True
    assert homes.create(export, "alice") is False
    home = (export / "home/alice").stat()
    assert (home.st_uid, home.st_mode & 0o777) == (export.stat().st_uid, 0o750)


@pytest.mark.parametrize("link", ["home", "home/alice"])
def test_a_link_is_neither_followed_nor_limited(export: Path, tmp_path: Path, kernel: Kernel, link: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (export / link).parent.mkdir(exist_ok=True)
    (export / link).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match=link):
        homes.create(export, "alice")
        homes.limit(export, "alice", 10)
    assert not list((tmp_path / "elsewhere").iterdir())
    assert not kernel.quotas


def test_all_in_a_home_counts_and_nothing_else(export: Path, tmp_path: Path, kernel: Kernel) -> None:
    homes.create(export, "alice")
    home = export / "home/alice"
    (home / ".config/a b\n").mkdir(parents=True)
    inside = [home / "note", home / ".hidden", home / ".config/a b\n/deep"]
    outside = [export / "other", tmp_path / "secret"]
    for file in (*inside, *outside):
        file.touch()
    (home / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(home / "fifo")
    assert homes.limit(export, "alice", 10) is True
    number = home.stat().st_ino
    directories = [home, home / ".config", home / ".config/a b\n"]
    assert kernel.projects == {
        **{each.stat().st_ino: (number, True) for each in directories},
        **{each.stat().st_ino: (number, False) for each in inside},
    }
    assert kernel.quotas == {number: quota.Quota(10 * 1024, 640)}
    assert homes.limit(export, "alice", 10) is False


def test_the_limit_is_set_when_everything_counts(export: Path, kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a run that was interrupted, or a home from a backup, is limited by the next."""
    homes.create(export, "alice")
    (export / "home/alice/note").touch()

    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(homes, "open_regular", interrupted)
        with pytest.raises(KeyboardInterrupt):
            homes.limit(export, "alice", 10)
    assert not kernel.quotas
    assert homes.limit(export, "alice", 10, pretend=True) is True
    assert not kernel.quotas
    assert homes.limit(export, "alice", 10) is True
    kernel.projects.clear()
    assert homes.limit(export, "alice", 10) is True
    assert homes.limit(export, "alice", 0) is True
    assert homes.limit(export, "alice", 0) is False
    assert set(kernel.quotas.values()) == {quota.Quota(0, 0)}


def test_a_file_system_without_quotas_of_projects(export: Path, kernel: Kernel) -> None:
    kernel.has_quotas = False
    homes.create(export, "alice")
    (export / "home/alice/data").write_bytes(b"x" * (3 * MIB))
    assert homes.limit(export, "alice", 10) is None
    found = homes.report(export, "alice")
    assert (found.used_mb, found.limit_mb) == (4, 0)


def test_a_real_file_system_without_them_is_no_error(tmp_path: Path) -> None:
    """Whatever holds the tests' files: the answer is a number, or None."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        assert quota.project(descriptor) == 0
    finally:
        os.close(descriptor)
    found = quota.quota(tmp_path, 4711)
    assert found is None or found.limit_kib == 0
