"""Old runs of the shared folder are deleted, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils import runs, shared_data
from ansible_collections.edge_ai.cluster.plugins.modules.notebooks_prune import prune

from tests.support.paths import COLLECTIONS


def run(shared: Path, day: int, complete: bool = True) -> str:
    """A run of a day of January 2026."""
    name = f"202601{day:02}T000000Z-1a2b3c4d"
    folder = shared / "runs" / name
    (folder / "fast").mkdir(parents=True)
    (folder / "fast/model.weights.h5").touch()
    (folder / "training-fast.ipynb").write_text("{}")
    if complete:
        (folder / shared_data.ARCHIVE).write_bytes(b"archive")
        document = {"inputs_digest": "ab" * 32, "archive_sha256": "cd" * 32, "durations": {}}
        (folder / "complete.json").write_text(json.dumps(document))
    return name


def left(shared: Path) -> list[str]:
    return sorted(each.name for each in (shared / "runs").iterdir())


def test_oldest_runs_go_first(tmp_path: Path) -> None:
    names = [run(tmp_path, day) for day in range(1, 7)]
    (tmp_path / "weights/fast").mkdir(parents=True)
    assert prune(tmp_path, 4, pretend=True) == (names[:2], [])
    assert left(tmp_path) == names
    assert prune(tmp_path, 4, pretend=False) == (names[:2], [])
    assert left(tmp_path) == names[2:]
    assert (tmp_path / "weights/fast").is_dir()
    assert prune(tmp_path, 4, pretend=False) == ([], [])
    assert prune(tmp_path, 0, pretend=False) == ([], [])


def test_newest_complete_run_stays(tmp_path: Path) -> None:
    run(tmp_path, 1)
    complete = run(tmp_path, 2)
    failed = [run(tmp_path, day, complete=False) for day in range(3, 7)]
    prune(tmp_path, 2, pretend=False)
    assert left(tmp_path) == [complete, *failed[2:]]


def test_a_run_that_was_fetched_stays_beside_others_that_look_complete(tmp_path: Path) -> None:
    fetched = run(tmp_path, 1)
    others = [run(tmp_path, day) for day in range(2, 6)]
    prune(tmp_path, 2, pretend=False, fetched=fetched)
    assert left(tmp_path) == [fetched, *others[2:]]


def test_what_is_no_run_neither_goes_nor_counts(tmp_path: Path) -> None:
    names = [run(tmp_path, day) for day in range(1, 4)]
    future = "29990101T000000Z-1a2b3c4d"
    others = [".hidden", "mine", "20260001T000000Z-1a2b3c4d", future]
    for name in others:
        (tmp_path / "runs" / name).mkdir()
    assert prune(tmp_path, 2, pretend=False) == (names[:1], [])
    assert left(tmp_path) == sorted([*names[1:], *others])


def test_no_link_is_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "complete.json").write_text("mine")
    shared = tmp_path / "shared"
    inside, link = run(shared, 1), "20260102T000000Z-1a2b3c4d"
    (shared / "runs" / inside / "more").symlink_to(outside)
    (shared / "runs" / link).symlink_to(outside)
    run(shared, 3)
    removed, refused = prune(shared, 1, pretend=False)
    assert removed == [inside]
    assert link in refused[0]
    assert (outside / "complete.json").read_text() == "mine"


def test_runs_that_are_a_link_are_not_touched(tmp_path: Path) -> None:
    run(tmp_path / "outside", 1)
    run(tmp_path / "outside", 2)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/runs").symlink_to(tmp_path / "outside/runs")
    removed, refused = prune(tmp_path / "shared", 1, pretend=False)
    assert (removed, len(refused)) == ([], 1)
    assert len(left(tmp_path / "outside")) == 2


def nested(folder: Path, depth: int) -> None:
    """Folders in one another, deeper than a path may be long."""
    descriptor = os.open(folder, os.O_RDONLY)
    for number in range(depth):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        if number % 100 == 0:
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=below))
            os.symlink("/etc", "link", dir_fd=below)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)


def test_a_run_of_any_depth_is_deleted(tmp_path: Path) -> None:
    name = run(tmp_path, 1)
    run(tmp_path, 2)
    nested(tmp_path / "runs" / name, 3000)
    try:
        assert prune(tmp_path, 1, pretend=False) == ([name], [])
        assert name not in left(tmp_path)
    finally:
        # pytest cannot delete it.
        subprocess.run(["rm", "--recursive", "--force", str(tmp_path / "runs")], check=True)


def test_a_run_with_many_entries_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_AT_ONCE", 3)
    name = run(tmp_path, 1)
    run(tmp_path, 2)
    for number in range(10):
        (tmp_path / "runs" / name / f"{number}/a/b").mkdir(parents=True)
        (tmp_path / "runs" / name / "fast" / str(number)).touch()
    assert prune(tmp_path, 1, pretend=False) == ([name], [])
    assert name not in left(tmp_path)


def enterable(folder: Path) -> None:
    """pytest makes its own folders so that no other user can enter them."""
    for each in folder.parents:
        if each.stat().st_mode & 0o777 == 0o700:
            each.chmod(0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up its rights")
def test_folders_that_their_owner_has_closed_are_deleted(tmp_path: Path) -> None:
    outside, shared = tmp_path / "outside", tmp_path / "shared"
    enterable(shared)
    inner, outer = run(shared, 1), run(shared, 2)
    run(shared, 3)
    (shared / "runs" / inner / "a/b/c").mkdir(parents=True)
    outside.mkdir(mode=0o711)
    (shared / "runs" / inner / "a/link").symlink_to(outside)
    for each in (outside, shared, *shared.rglob("*")):
        os.chown(each, 10001, 10001, follow_symlinks=False)
    for each in ("a/b/c", "a/b", "a", "fast"):
        (shared / "runs" / inner / each).chmod(0)
    (shared / "runs" / outer).chmod(0)
    with shared_data.as_owner(shared):
        assert prune(shared, 1, pretend=False) == ([inner, outer], [])
    assert not {inner, outer} & set(left(shared))
    assert outside.stat().st_mode & 0o777 == 0o711


def test_a_run_whose_mark_is_a_folder_is_deleted(tmp_path: Path) -> None:
    name = run(tmp_path, 1, complete=False)
    (tmp_path / "runs" / name / "complete.json/x").mkdir(parents=True)
    run(tmp_path, 2)
    assert prune(tmp_path, 1, pretend=False) == ([name], [])


SLOW = """
import signal, sys, time
from pathlib import Path
from ansible_collections.edge_ai.cluster.plugins.module_utils import runs, shared_data
from ansible_collections.edge_ai.cluster.plugins.modules import notebooks_prune, notebooks_state

looked = []

def slow(shared, run):
    looked.append(run)
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass

runs.remove = shared_data.complete_run = slow
shared_data.limit_process(0.1, 1 << 30, "it")
shared = Path(sys.argv[2])
try:
    if sys.argv[1] == "prune":
        shared_data.complete_runs = lambda shared: ([], [])
        print(notebooks_prune.prune(shared, 1, False))
    else:
        notebooks_state.state(shared, {}, "")
except shared_data.OutOfTime as error:
    # A busy machine needs longer to end than the other limit leaves.
    for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
        signal.setitimer(timer, 0)
    print(error)
print(len(looked))
"""


@pytest.mark.parametrize("what", ["prune", "state"])
def test_the_limit_of_time_ends_all_of_the_work_not_one_run(tmp_path: Path, what: str) -> None:
    for day in range(1, 7):
        run(tmp_path, day)
    command = [sys.executable, "-c", SLOW, what, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(COLLECTIONS)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    said, looked = done.stdout.strip().rsplit("\n", 1)
    assert "it: not done after 0.1 s" in said
    assert looked == "1"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up its rights")
def test_a_folder_of_others_stays_with_a_reason(tmp_path: Path) -> None:
    enterable(tmp_path)
    name = run(tmp_path, 1)
    run(tmp_path, 2)
    os.chown(tmp_path, 10001, 10001)
    with shared_data.as_owner(tmp_path):
        removed, refused = prune(tmp_path, 1, pretend=False)
    assert (removed, len(refused)) == ([], 1)
    assert (tmp_path / "runs" / name / "complete.json").exists()


def test_surplus_keeps_all_when_there_are_few(tmp_path: Path) -> None:
    assert runs.surplus(tmp_path, "", 3) == []
    name = run(tmp_path, 1)
    assert runs.surplus(tmp_path, name, 3) == []
