"""Archives of a backup: truncated, forged, and led elsewhere."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import sqlite3
import tarfile
from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.backup import archive, seal

from tests.support.backups import Faults, Owner, agree, give, repack, run_board


def test_a_backup_is_whole_and_has_the_rows_that_were_only_in_the_journal(
    backup: Path, tmp_path: Path, owner: Owner, faults: Faults
) -> None:
    assert faults(backup) == []
    assert faults(backup, version="v1.36.5+k3s1") == faults(backup, version="v1.37.0+k3s1") == []
    with tarfile.open(fileobj=io.BytesIO(owner.read(backup / archive.SERVER))) as tar:
        names = tar.getnames()
        member = tar.extractfile("server/db/state.db")
        assert member
        (tmp_path / "state.db").write_bytes(member.read())
    assert not [name for name in names if name.endswith(("-wal", "-shm"))]
    assert names[-1] == archive.SUMS
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as copy:
        assert copy.execute("SELECT count(*) FROM kine").fetchone() == (1,)


def test_what_is_no_data_stays_out(backup: Path, owner: Owner) -> None:
    assert set(archive.inside(backup / archive.DATA, owner.key).sums) == {
        "data/notes.txt",
        "data/weights/fast/model.weights.h5",
    }


def test_an_empty_export_is_data_too(tmp_path: Path, owner: Owner) -> None:
    (tmp_path / "export").mkdir()
    give(tmp_path / "export")
    done = run_board("send-data", "--export", str(tmp_path / "export"))
    assert owner.write(tmp_path / archive.DATA, done.stdout) == archive.Contents()
    assert archive.inside(tmp_path / archive.DATA, owner.key) == archive.Contents()


@pytest.mark.parametrize("name", [archive.SERVER, archive.DATA])
def test_a_truncated_archive_is_refused(backup: Path, name: str, owner: Owner, faults: Faults) -> None:
    path = backup / name
    path.write_bytes(path.read_bytes()[:-100])
    assert [f"{name} has {path.stat().st_size} bytes" in fault for fault in faults(backup)] == [True]
    # Even with a manifest that was changed to match.
    agree(backup, owner, name)
    assert f"{name} {name}: decrypt: age: error: " in faults(backup)[0]


def test_an_archive_that_was_cut_where_tar_sees_no_end_is_refused(backup: Path, owner: Owner) -> None:
    """A stream that broke off between two members, compressed to a whole gzip file."""
    path = backup / archive.DATA
    plain = gzip.decompress(owner.read(path))
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        last = tar.getmember(archive.SUMS).offset
    found = owner.write(path, plain[:last] + b"\0" * 1024)
    assert (
        found.faults
        == archive.inside(path, owner.key).faults
        == ["has no SHA256SUMS.json at its end: it is incomplete"]
    )


def test_a_changed_file_with_a_matching_manifest_is_refused(backup: Path, owner: Owner, faults: Faults) -> None:
    def forge(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo("data/added.txt")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"added"))

    repack(backup, owner, archive.DATA, forge)
    assert faults(backup) == [f"{archive.DATA} 'data/added.txt' differs from the file that was read"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "data/../../x"])
def test_names_that_lead_elsewhere_are_refused_here_and_on_the_board(
    backup: Path, tmp_path: Path, name: str, owner: Owner, faults: Faults
) -> None:
    def forge(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))

    repack(backup, owner, archive.DATA, forge)
    assert any("leads elsewhere" in fault for fault in faults(backup))
    target = tmp_path / "target"
    target.mkdir()
    sent = run_board("take-data", "--export", str(target), "--stamp", "s", data=owner.read(backup / archive.DATA))
    assert sent.returncode == 1
    assert b"leads elsewhere" in sent.stderr
    assert [each.name for each in target.iterdir()] == [".restore-part"]


def test_a_fault_on_the_way_to_the_disk_ends_the_backup(owner: Owner, tmp_path: Path) -> None:
    """What cannot be decrypted here is verified while it is written."""
    assert "cannot be read" in owner.write(tmp_path / archive.DATA, b"no tar at all" * 1000).faults[0]
    (tmp_path / archive.SERVER).symlink_to("/dev/full")
    with pytest.raises(seal.BackupError, match=r"encrypt: .*no space left"):
        owner.write(tmp_path / archive.SERVER, os.urandom(1 << 22))
