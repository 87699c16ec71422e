"""What the scenario of twenty boards records, and what bench/scale.py makes of two records."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import scale
from tests.support.scale import Cost, descendants, memory_mb
from tools.playbook import Starts


def test_starts_give_seconds_by_play_and_keep_the_counts() -> None:
    starts = Starts()
    kept = []
    for minute, (event, play) in enumerate(
        [("play_start", "Flash"), ("play_start", "Base"), ("play_start", "Flash"), ("stats", "")]
    ):
        created = f"2026-11-26T12:0{minute}:00.000000+00:00"
        data = {"event": f"playbook_on_{event}", "event_data": {"play": play} if play else {}, "created": created}
        kept.append(starts.note(data))
    assert starts.seconds() == {"Flash": 120, "Base": 60}
    assert kept == [False, False, False, True]


def test_memory_of_what_a_process_has_started_is_counted() -> None:
    inner = "import sys; x = bytearray(50_000_000); sys.stdin.read()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{inner}'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as started:
        try:
            grandchildren: list[int] = []
            while not grandchildren or sum(map(memory_mb, grandchildren)) < 50:
                grandchildren = descendants(started.pid)
                assert started.poll() is None
            assert {started.pid, *grandchildren} <= set(descendants(os.getpid()))
        finally:
            assert started.stdin
            started.stdin.close()
    assert memory_mb(started.pid) == 0


def test_cost_of_what_runs_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.scale.EVERY_S", 0.1)
    code = (
        "import time; end = time.process_time() + 0.5; x = bytearray(50_000_000)\nwhile time.process_time() < end: pass"
    )
    with Cost("pi-01", ["printf", "MemTotal: 2000 kB\nMemAvailable: 1500 kB\n"]) as cost:
        subprocess.run([sys.executable, "-c", code], check=True)
    figures = cost.figures()
    assert figures["control_cpu_s"] >= 0.5
    assert figures["control_mb"] >= 50
    assert cost.board_mb == 0.5


def record(path: Path, boards: int, seconds: float, cpu: float) -> Path:
    step = {
        "name": "site", "seconds": seconds, "rc": 0, "stages": {"Flash": seconds / 2, "Install k3s": seconds / 4},
        "figures": {"boards": boards, "control_cpu_s": cpu, "control_mb": 400, "pi-01_mb": 900},
    }  # fmt: skip
    path.write_text(json.dumps([step, {"name": "predict", "seconds": 9.0, "rc": 0, "stages": {}, "figures": {}}]))
    return path


def test_a_board_more_is_the_difference_of_two_records(tmp_path: Path) -> None:
    few, many = record(tmp_path / "3.json", 3, 200, 60), record(tmp_path / "20.json", 20, 1220, 230)
    rows = scale.compare(json.loads(few.read_text()), json.loads(many.read_text()), "site")
    assert rows["in all"] == (200, 1220, 60)
    assert rows["Flash"] == (100, 610, 30)
    assert rows["control_cpu_s"] == (60, 230, 10)
    assert rows["pi-01_mb"] == (900, 900, 0)


@pytest.mark.parametrize(("step", "reason"), [("restore", "no step restore"), ("predict", "boards")])
def test_records_that_cannot_be_compared(tmp_path: Path, step: str, reason: str) -> None:
    path = record(tmp_path / "3.json", 3, 200, 60)
    argv = [sys.executable, "-m", "bench.scale", str(path), str(path), "--step", step]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert reason in done.stderr
