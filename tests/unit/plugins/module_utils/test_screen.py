"""Lines that stay are not erased by the rows that a second thread draws again below them."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils import screen

from tests.support import terminal

LINES = 400


@pytest.fixture
def _many_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_many_switches")
def test_lines_stay_while_the_rows_below_them_become_fewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "REFRESHES", 2000)
    monkeypatch.setenv("TERM", "xterm")
    rows = itertools.cycle(
        [[screen.Row("stage", 1, None)], [screen.Row("stage", 1, None), screen.Row("task", 1, None)]]
    )
    path = tmp_path / "output"
    with path.open("w") as stream:
        shown = screen.Screen(stream, no_color=True, running=lambda: (next(rows), ""))
        shown.start()
        for number in range(LINES):
            shown.show(f"line {number}")
        shown.stop()
    found = terminal.Screen()
    found.write(path.read_bytes().decode().replace("\n", "\r\n"))
    assert found.screen.splitlines() == [f"line {number}" for number in range(LINES)]


def test_nothing_draws_after_the_rows_were_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "REFRESHES", 100)
    monkeypatch.setenv("TERM", "xterm")
    before = threading.active_count()
    path = tmp_path / "output"
    with path.open("w") as stream:
        shown = screen.Screen(stream, no_color=True, running=lambda: ([screen.Row("stage", 1, None)], ""))
        for _ in range(3):
            shown.start()
            shown.stop()
        size = path.stat().st_size
        for thread in threading.enumerate()[before:]:
            thread.join(5)
    assert path.stat().st_size == size
    assert threading.active_count() == before
