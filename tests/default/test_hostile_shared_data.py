"""Hostile files in the shared folder of a running cluster: the play names them, and nothing else is touched."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import hostile
from tests.support.cluster import Cluster
from tests.support.paths import ROOT
from tests.support.plays import INVENTORY

#: Of the archives only some: each that looks complete costs a transfer and an unpacking.
WHOLE = ("archive_is", "complete", "digest", "durations", "future", "names", "run_is", "timings_are")
CASES = [
    *(name for name in hostile.CASES if name.startswith(WHOLE)),
    *("absolute_member", "head_of_ten_gigabytes", "link_then_file", "tar_bomb"),
]


@pytest.fixture
def export(boards: dict[str, Any], cluster: Cluster) -> Iterator[tuple[Any, str]]:
    """The NFS server and the newest run's digest of inputs; afterwards the runs are those that were there before."""
    server = boards[cluster.hosts("nfs_servers")[0]]
    before = set(server.check_output("ls -1 /srv/books/runs").splitlines())
    newest = sorted(before)[-1]
    digest = json.loads(server.check_output(f"cat /srv/books/runs/{newest}/complete.json"))["inputs_digest"]
    try:
        yield server, digest
    finally:
        keep = " ".join(f"! -name {name}" for name in before)
        server.check_output(f"find /srv/books/runs -mindepth 1 -maxdepth 1 {keep} -exec rm -rf {{}} +")
        server.check_output("rm -rf /tmp/hostile.py /tmp/hostile-outside")


def control_node(cluster: Cluster) -> dict[str, tuple[int, int]]:
    """Mode and time of change of everything in this checkout's results and secrets."""
    folders = (cluster.path("cluster_results_dir"), cluster.path("cluster_secrets_dir"))
    found = {}
    for folder in folders:
        for path in folder.rglob("*"):
            status = path.lstat()
            found[str(path)] = (status.st_mode, status.st_mtime_ns)
    return found


@pytest.mark.extended
def test_hostile_runs_change_nothing_and_are_named(export: tuple[Any, str], cluster: Cluster) -> None:
    server, digest = export
    program = base64.b64encode(Path(hostile.__file__).read_bytes()).decode()
    server.check_output("mkdir -p /tmp/hostile-outside/home && touch /tmp/hostile-outside/home/authorized_keys")
    server.check_output("echo %s | base64 -d > /tmp/hostile.py", program)
    names = " ".join(CASES)
    server.check_output(
        "setpriv --reuid 10001 --regid 10001 --clear-groups -- "
        f"python3 /tmp/hostile.py /srv/books /tmp/hostile-outside {digest} {names}"
    )
    outside = "find /tmp/hostile-outside /etc /root /usr/local -xdev -newer /tmp/hostile.py"
    before, changed = control_node(cluster), server.check_output(outside)

    def experiment(*options: str) -> str:
        play = subprocess.run(
            ["ansible-playbook", "-i", INVENTORY, "playbooks/experiment.yml", *options],
            cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
            # Molecule asks for colours, which are escapes too.
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
        )  # fmt: skip
        assert play.returncode == 0, play.stdout[-4000:] + play.stderr[-2000:]
        assert control_node(cluster) == before
        assert server.check_output(outside) == changed
        # Warnings have text of the export; what they say last is not the recap.
        output = play.stderr + play.stdout
        assert "/srv/books/runs/" in output
        assert all(line.isprintable() for line in output.splitlines()), "an escape reached the terminal"
        return output

    output = experiment("-e", "notebooks_keep_runs=0")
    assert output.count("ignored and not changed") > 15
    assert "changed=0" in output.split("\nPLAY RECAP")[-1]
    # There are more than are kept: the oldest are deleted, whatever they are.
    assert "Delete the oldest runs" in experiment()
