"""Data between boards and the control node, also of boards that others control."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.edge_ai.cluster.plugins.action import cluster_backup as action
from ansible_collections.edge_ai.cluster.plugins.module_utils import ssh
from ansible_collections.edge_ai.cluster.plugins.module_utils.backup import archive, transfer
from ansible_collections.edge_ai.cluster.plugins.modules.cluster_backup_state import state_of_export

from tests.support.backups import STAMP, Owner, give, root, run_board


def moved(source: Path, target: Path, *options: str) -> dict[str, Any]:
    """The result of moving an export on this machine."""
    here = {"connection": "local", "host": "localhost"}
    taken = ["take-data", "--export", str(target), "--stamp", STAMP, *options]
    return transfer.move(
        {"title": "old", "ssh": here, "arguments": ["send-data", "--export", str(source)]},
        {"title": "new", "ssh": here, "arguments": taken},
        60,
        print,
    )


@root
def test_data_moves_to_an_empty_export_and_stays_in_the_old_one(export: Path, tmp_path: Path) -> None:
    weights = (export / "weights/fast/model.weights.h5").read_bytes()
    target = tmp_path / "new"
    (target / "lost+found").mkdir(parents=True)
    give(target)
    moved(export, target)
    assert (target / "weights/fast/model.weights.h5").read_bytes() == weights
    assert (target / "weights/fast/model.weights.h5").stat().st_uid == 10001
    assert (export / "weights/fast/model.weights.h5").read_bytes() == weights
    assert sorted(each.name for each in target.iterdir()) == ["lost+found", "notes.txt", "weights"]
    # By which an interrupted move is known to have copied all.
    assert state_of_export(target)["digest"] == state_of_export(export)["digest"] != state_of_export(tmp_path)["digest"]
    # Of another size: times are compared by the second.
    (export / "notes.txt").write_text("written later")
    assert state_of_export(target)["digest"] != state_of_export(export)["digest"]


@root
def test_data_that_is_there_is_not_overwritten_by_a_move(export: Path, tmp_path: Path) -> None:
    target = tmp_path / "new"
    target.mkdir()
    (target / "notes.txt").write_text("mine")
    give(target)
    with pytest.raises(action.AnsibleActionFail, match=r"new: .*is not empty"):
        moved(export, target)
    assert [each.name for each in target.iterdir()] == ["notes.txt"]
    moved(export, target, "--replace")
    assert (target / "notes.txt").read_text() == "notes"
    assert (target / f".before-restore-{STAMP}" / "notes.txt").read_text() == "mine"


@root
def test_a_move_that_cannot_be_read_to_its_end_puts_nothing_in_place(tmp_path: Path) -> None:
    target = tmp_path / "new"
    target.mkdir()
    give(target)
    with pytest.raises(action.AnsibleActionFail, match=r"^old: .*missing"):
        moved(tmp_path / "missing", target)
    assert [each.name for each in target.iterdir() if each.name != ".restore-part"] == []


def tar_of(*files: tuple[str, int], end: bool = True) -> bytes:
    """A tar as a board may begin it: names, and the sizes that it says they have; random content, as long as 1 MiB."""
    made = io.BytesIO()
    for name, size in files:
        info = tarfile.TarInfo(name)
        info.size = size
        content = os.urandom(min(size, 1 << 20))
        made.write(info.tobuf() + content + bytes(-len(content) % 512))
    return made.getvalue() + (bytes(1024) if end else b"")


@pytest.mark.parametrize(
    ("begins", "limit", "fault"),
    [
        (b"no tar at all" * 100_000, 0, "cannot be read to its end"),
        (tar_of(("data/notes.txt", 5)), 0, "has no SHA256SUMS.json at its end: it is incomplete"),
        (tar_of(("data/weights", 1 << 40), end=False), 0, "holds 'data/weights': more than 1,"),
        (tar_of(("data/weights", 3 << 30), end=False), 2 << 30, "holds 'data/weights': more than 2,"),
        (tar_of(("elsewhere/notes.txt", 5), end=False), 0, "holds 'elsewhere/notes.txt', which is not a part of a"),
    ],
)
def test_a_board_that_sends_without_end_fills_no_disk(
    begins: bytes, limit: int, fault: str, owner: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / archive.DATA
    with pytest.raises(AnsibleActionFail) as raised:
        receive_from(tmp_path, begins, target, owner, monkeypatch, limit)
    assert str(raised.value).startswith(f"data from pi-01: {fault}")
    assert target.stat().st_size < 8 << 20


def test_a_board_that_goes_on_after_the_end_fills_no_disk(
    export: Path, owner: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_board("send-data", "--export", str(export)).stdout
    with pytest.raises(AnsibleActionFail, match=r"^data from pi-01: goes on after its end$"):
        receive_from(tmp_path, whole, tmp_path / archive.DATA, owner, monkeypatch)


def test_a_part_of_a_backup_leaves_room_on_the_disk(
    owner: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _path: SimpleNamespace(free=transfer.RESERVE - 1))
    target = tmp_path / archive.DATA
    with pytest.raises(AnsibleActionFail, match=r"^data from pi-01: after 0 MB \S+ has less than 67 MB free: "):
        receive_from(tmp_path, tar_of(("data/weights", 1 << 20), end=False), target, owner, monkeypatch)
    assert target.stat().st_size < 1 << 20


def receive_from(
    folder: Path, begins: bytes, target: Path, owner: Owner, monkeypatch: pytest.MonkeyPatch, limit: int = 0
) -> archive.Contents:
    """What is received from a board that sends this, and then 64 MiB that cannot be compressed."""
    (folder / "begins").write_bytes(begins)
    endless = f"cat >/dev/null; cat '{folder}/begins'; exec head -c {64 << 20} /dev/urandom"
    monkeypatch.setattr(ssh, "root_argv", lambda *_: ["sh", "-c", endless])
    part = {"title": "data", "ssh": {"host": "pi-01"}, "arguments": [], "bytes": 1000, "limit": limit}
    return transfer.receive(part, target, owner.recipient, 60, print)
