"""Files that are replaced as a whole."""

import errno
import hashlib
import os
import stat
from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils import files


@pytest.mark.parametrize("mode", [0o644, 0o600, None])
def test_a_file_is_replaced_whole_and_has_its_mode(tmp_path: Path, mode: int | None) -> None:
    path = tmp_path / "cmdline.txt"
    path.write_text("old")
    path.chmod(0o777)
    files.write_text(path, "new \u00fc\n", mode)
    assert path.read_text(encoding="utf-8") == "new \u00fc\n"
    assert mode is None or stat.S_IMODE(path.stat().st_mode) == mode
    assert [entry.name for entry in tmp_path.iterdir()] == ["cmdline.txt"]


def test_what_a_killed_run_left_does_no_harm(tmp_path: Path) -> None:
    path, other = tmp_path / "token", tmp_path / "other"
    other.write_text("untouched")
    (tmp_path / ".token.part").symlink_to(other)
    files.write_text(path, "s3cret", 0o600)
    assert path.read_text() == "s3cret" and not path.is_symlink()
    assert other.read_text() == "untouched"


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "token"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_text(path, "new")
    assert path.read_text() == "old"


def test_a_disk_that_knows_no_order_of_names_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As some that are reached over a network; a faulty one is an error."""
    fsync = os.fsync

    def of_files_alone(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(files.os, "fsync", of_files_alone)
    files.write_text(tmp_path / "token", "new")
    assert (tmp_path / "token").read_text() == "new"

    def faulty(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files.os, "fsync", faulty)
    with pytest.raises(OSError, match="Input/output"):
        files.sync(tmp_path)


def test_digest(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"x" * 3_000_000)
    assert files.sha256_of(path) == hashlib.sha256(b"x" * 3_000_000).hexdigest()
