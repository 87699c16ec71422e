"""The second place for backups, a directory or one that is reached by sftp."""

from __future__ import annotations

import os
import shutil
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.backup import place, seal

from tests.support.backups import Owner, change, root, small_disk


@root
@pytest.mark.parametrize("remote", [False, True])
def test_a_second_place_that_is_full_keeps_nothing_of_the_copy(backup: Path, tmp_path: Path, remote: bool) -> None:
    with small_disk(tmp_path / "disk", "200k") as disk:
        (disk / "home").mkdir()
        to, options = (f"pi@nas:{disk}", "-D /usr/lib/openssh/sftp-server") if remote else (str(disk), "")
        with pytest.raises((seal.BackupError, OSError), match=r"is its disk full\?|No space left"):
            place.copy(backup, to, "home", 2, options, 60)
        assert list((disk / "home").iterdir()) == []


def test_copies_at_a_second_directory_are_whole_and_few(backup: Path, owner: Owner, tmp_path: Path) -> None:
    there = tmp_path / "disk"
    with pytest.raises(seal.BackupError, match="is not a directory: mount its disk"):
        place.copy(backup, str(there), "home", 0, "", 60)
    for wrong in ("host", "-oProxyCommand=x:/a", "a b:/c", "pi@host:", "pi@host:/a;b"):
        with pytest.raises(seal.BackupError, match="is neither"):
            place.copy(backup, wrong, "home", 0, "", 60)
    there.mkdir()
    (there / "home/.part-20261121T050000Z").mkdir(parents=True)
    assert place.copy(backup, str(there), "home", 2, "", 60) == []
    for hour in (6, 7):
        later = shutil.copytree(backup, backup.with_name(f"20261122T0{hour}0000Z"))
        change(later, owner, created=later.name)
        gone = place.copy(later, str(there), "home", 2, "", 60)
    assert gone == [backup.name]
    assert sorted(path.name for path in (there / "home").iterdir()) == ["20261122T060000Z", "20261122T070000Z"]
    copied = there / "home/20261122T070000Z"
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == {
        path.name: path.read_bytes() for path in later.iterdir()
    }
    assert {path.stat().st_mode & 0o777 for path in copied.iterdir()} == {0o600}


def test_an_older_copy_is_removed_when_the_new_one_is_on_the_disk_with_its_name(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, prune = os.fsync, place.prune

    def noted(descriptor: int) -> None:
        events.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def pruned(*given: Any) -> list[str]:
        events.append("prune")
        return prune(*given)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(place, "prune", pruned)
    place.copy(backup, str(tmp_path), "home", 2, "", 60)
    assert events[-3:] == [f".part-{backup.name}", "home", "prune"]
    assert set(events[:-3]) == {path.name for path in backup.iterdir()}


def place_of(tmp_path: Path, script: str) -> str:
    """Options that have sftp start a program in the place of its server."""
    server = tmp_path / "server"
    server.write_text(f"#!/bin/sh\n{script}\n")
    server.chmod(0o755)
    return f"-D {server}"


def test_a_place_that_says_what_it_likes_moves_no_cursor_and_fills_no_memory(backup: Path, tmp_path: Path) -> None:
    says = place_of(tmp_path, r"head -c 64000000 /dev/zero >&2; printf '\033[2Jfull' >&2; exit 1")
    tracemalloc.start()
    try:
        with pytest.raises(seal.BackupError) as raised:
            place.copy(backup, f"pi@nas:{tmp_path}", "home", 0, says, 60)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert r"\x1b[2Jfull" in str(raised.value)
    assert str(raised.value).isprintable()


def test_nothing_waits_for_a_place_that_does_not_answer(backup: Path, tmp_path: Path) -> None:
    silent = place_of(tmp_path, f"echo $$ >{tmp_path}/pid; exec sleep 600")
    with pytest.raises(seal.BackupError, match=r"^nas: not done after 1 s \(cluster_backup_timeout\)$"):
        place.copy(backup, f"nas:{tmp_path}", "home", 0, silent, 1)
    state = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
    until = time.monotonic() + 10
    while state.exists() and ") Z " not in state.read_text() and time.monotonic() < until:
        time.sleep(0.05)
    assert not state.exists() or ") Z " in state.read_text()


def test_copies_over_sftp_are_whole_and_few(backup: Path, owner: Owner, tmp_path: Path) -> None:
    """sftp and its server as they are, without the ssh between them."""
    there, direct = tmp_path / "nas", "-D /usr/lib/openssh/sftp-server"
    with pytest.raises(seal.BackupError, match="not found; create the directory there"):
        place.copy(backup, f"pi@nas:{there}", "home", 0, direct, 60)
    # What an interrupted run left.
    (there / "home/.part-20261121T050000Z").mkdir(parents=True)
    (there / "home/.part-20261121T050000Z/manifest.json").touch()
    (there / "home/notes.txt").touch()
    assert place.copy(backup, f"pi@nas:{there}", "home", 2, direct, 60) == []
    for hour in (6, 7):
        later = shutil.copytree(backup, backup.with_name(f"20261122T0{hour}0000Z"))
        gone = place.copy(later, f"pi@nas:{there}", "home", 2, direct, 60)
    assert gone == [backup.name]
    names = sorted(path.name for path in (there / "home").iterdir())
    assert names == ["20261122T060000Z", "20261122T070000Z", "notes.txt"]
    copied = there / "home/20261122T070000Z"
    assert copied.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == {
        path.name: path.read_bytes() for path in later.iterdir()
    }
