"""A run on an export that is full: the role on this machine, with small disks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import ansible_playbook

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts small disks, which only root may")

RUNS = [f"2026112{day}T000000Z-1a2b3c4d" for day in range(3)]
OWNER = 10001


@contextmanager
def export(options: str, megabytes: int) -> Iterator[Path]:
    """A disk with three runs of this size, where its owner may read it."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=755,{options}", "tmpfs", str(folder)], check=True)
    try:
        for run in RUNS:
            (folder / "runs" / run).mkdir(parents=True)
            (folder / "runs" / run / "executed.ipynb").write_bytes(bytes(megabytes << 20))
        for path in (folder, *folder.rglob("*")):
            os.chown(path, OWNER, OWNER)
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


def begin(folder: Path, shared: Path, keep: int) -> str:
    """The output of a run that begins; no cluster is there for it."""
    room = os.statvfs(shared)
    state = {
        "room": {
            "total": room.f_blocks * room.f_frsize, "free": room.f_bavail * room.f_frsize, "entries": room.f_favail
        },
        "surplus": RUNS[: len(RUNS) - keep],
        "differing": [],
    }  # fmt: skip
    variables = {
        "cluster_cache_dir": str(folder),
        "cluster_results_dir": str(folder / "results"),
        "cluster_secrets_dir": str(folder),
        "notebooks_nfs_server": "localhost",
        "notebooks_render_host": "localhost",
        "notebooks_export": str(shared),
        "notebooks_image": "edge-ai/tensorflow-jupyter:0123456789ab",
        "notebooks_keep_runs": keep,
        "notebooks_free_mb": 10,
        "__notebooks_state": state,
        "ansible_python_interpreter": sys.executable,
    }
    role = {"name": "Run", "ansible.builtin.include_role": {"name": "notebooks", "tasks_from": "run"}}
    play = {"name": "Begin", "hosts": "localhost", "gather_facts": False, "tasks": [role], "vars": variables}
    (folder / "play.yml").write_text(json.dumps([play]))
    done = ansible_playbook.run(
        ["-i", "localhost,", "-c", "local", "play.yml"],
        cwd=folder,
    )
    assert done.returncode, "there is a cluster"
    return done.stdout + done.stderr


def test_an_export_that_is_full_of_old_runs_gets_room(tmp_path: Path) -> None:
    with export("size=40m", 12) as shared:
        output = begin(tmp_path, shared, keep=1)
        assert [path.name for path in (shared / "runs").iterdir()] == RUNS[-1:], output[-3000:]
    assert "No notebook was started" not in output


def test_an_export_without_entries_begins_no_run(tmp_path: Path) -> None:
    with export("size=40m,nr_inodes=600", 0) as shared:
        output = " ".join(begin(tmp_path, shared, keep=3).split())
        assert len(list((shared / "runs").iterdir())) == len(RUNS)
    assert "more files possible: delete folders with many. A run needs" in output, output[-3000:]
    assert "No notebook was started." in output
