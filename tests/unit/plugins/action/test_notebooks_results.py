"""The archive of a run as the NFS server sends it, which may be a board that others control."""

from __future__ import annotations

import base64
import errno
import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.edge_ai.cluster.plugins.action import notebooks_results as action
from ansible_collections.edge_ai.cluster.plugins.module_utils import results
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import ARCHIVE_BYTES, Refused

RUN = "20261101T000000Z-1a2b3c4d"


def fetch(answers: Any) -> tuple[bytes, list[int]]:
    """What is fetched from a board that answers so, and the offsets that it is asked for."""
    asked: list[int] = []

    def execute(module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> Any:
        assert module_args["name"] == f"runs/{RUN}/results.tar.gz"
        assert len(asked) < 100, "asked without end"
        asked.append(module_args["offset"])
        return answers(module_args["offset"], module_args["length"])

    archive = io.BytesIO()
    board: Any = SimpleNamespace(_execute_module=execute)
    action.ActionModule._fetch(board, "/srv/books", RUN, archive, {})
    assert archive.tell() == 0
    return archive.read(), asked


def part(content: bytes, size: Any) -> dict[str, Any]:
    return {"content": base64.b64encode(content).decode(), "size": size}


def test_an_archive_comes_in_parts() -> None:
    content = os.urandom(2 * action.PART + 10)
    fetched, asked = fetch(lambda offset, length: part(content[offset : offset + length], len(content)))
    assert fetched == content
    assert asked == [0, action.PART, 2 * action.PART]
    assert fetch(lambda offset, length: part(b"", 0)) == (b"", [0])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (part(b"x", 30 << 20), "the NFS server sent 1 bytes from 0 on, of 31,457,280"),
        (part(b"", 30 << 20), "the NFS server sent 0 bytes from 0 on, of 31,457,280"),
        (part(bytes(9 << 20), 10 << 20), "the NFS server sent 9,437,184 bytes from 0 on, of 10,485,760"),
        (part(bytes(4 << 20), ARCHIVE_BYTES + 1), "its size is 33554433, not one of up to 33,554,432"),
        (part(b"x", -1), "its size is -1,"),
        (part(b"x", True), "its size is True,"),
        (part(b"x", "1\x1b[2J"), r"its size is '1\x1b[2J',"),
        ({"size": 1}, "the NFS server sent 0 bytes from 0 on, of 1"),
        ({"content": "x", "size": 1}, "is not base64"),
        ({"content": "\u00e9", "size": 1}, "is not base64"),
        ({"content": ["eA=="], "size": 1}, "the NFS server sent 0 bytes"),
    ],
)
def test_what_is_no_part_of_an_archive_is_refused(answer: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused) as refused:
        fetch(lambda offset, length: answer)
    assert str(refused.value).startswith(f"/srv/books/runs/{RUN}/results.tar.gz: ")
    assert reason in str(refused.value)


def test_an_archive_that_shrinks_or_grows_meanwhile_is_refused() -> None:
    sizes = iter([10 << 20, 1 << 20])
    with pytest.raises(Refused, match="4,194,304 bytes from 4,194,304 on, of 1,048,576"):
        fetch(lambda offset, length: part(bytes(length), next(sizes)))


def unpack_on_a_disk(folder: Path, monkeypatch: pytest.MonkeyPatch, error: int) -> int:
    """Exit status of the program that unpacks, where the first file cannot be brought to the disk."""

    def fails(_: int) -> None:
        raise OSError(error, os.strerror(error))

    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("timings.json"))
    monkeypatch.setattr(results.shared_data, "limit_process", lambda *_: None)
    monkeypatch.setattr(results.os, "fsync", fails)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(archive.getvalue())))
    digest = hashlib.sha256(archive.getvalue()).hexdigest()
    return results.main([str(folder), RUN, digest, "/nonexistent/schema.json"])


@pytest.mark.parametrize(
    ("error", "status"), [(errno.ENOSPC, 2), (errno.EDQUOT, 2), (errno.EROFS, 2), (errno.EISDIR, 1)]
)
def test_a_full_disk_is_no_fault_of_the_archive_and_nothing_stays_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: int, status: int
) -> None:
    assert unpack_on_a_disk(tmp_path, monkeypatch, error) == status
    assert os.strerror(error) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def run(folder: Path) -> str:
    """Why the action fails for two runs of the export."""
    task = {"results": str(folder), "export": "/srv/books", "schema": "s", "runs": [{"run": RUN}, {"run": RUN}]}
    board: Any = action.ActionModule.__new__(action.ActionModule)
    board._task = SimpleNamespace(check_mode=False)
    board._execute_module = lambda **_: part(b"x", 1)
    with pytest.raises(AnsibleActionFail) as failed:
        board.act(task, {})
    return str(failed.value)


def test_a_control_node_without_room_is_named_and_no_run_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = subprocess.CompletedProcess([], 2, "", "[Errno 28] No space left on device\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    said = run(tmp_path)
    assert f"{tmp_path} cannot be written on the control node ([Errno 28] No space left on device)" in said
    assert "free space on its disk" in said and "notebooks_rerun" not in said

    def full(**_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(action.tempfile, "TemporaryFile", full)
    assert "(No space left on device), and was not changed: free space" in run(tmp_path)


def test_results_are_on_the_disk_before_they_have_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut they are complete, or not there: the export may have deleted the run by then."""
    archive, synced = io.BytesIO(), list[str]()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name in ("report.html", "timings.json"):
            tar.addfile(tarfile.TarInfo(name))
    monkeypatch.setattr(results, "validate_timings", lambda *_: synced.append("validated"))
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(results.os, "fsync", noted)
    archive.seek(0)
    results.unpack(archive, hashlib.sha256(archive.getvalue()).hexdigest(), Path("s"), tmp_path / RUN)
    assert (tmp_path / RUN / "report.html").read_bytes() == results.SEAL
    # The page, which is written a second time, and at last the folder with the name.
    assert synced[-3:] == ["report.html", "validated", tmp_path.name]
    assert sum(name.endswith(".part") for name in synced) == 2
