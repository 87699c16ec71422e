"""What a playbook costs the control node and a board meanwhile: processor time, and the most memory at a time."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

EVERY_S = 5


def descendants(ancestor: int) -> list[int]:
    """Processes that a process has started, and that those have. Daemons are not among them."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit():
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found: list[int] = []
    wanted = [ancestor]
    while wanted:
        wanted = [process for process, parent in parents.items() if parent in wanted]
        found += wanted
    return found


def memory_mb(process: int) -> float:
    """Memory of a process, with its share of what it has in common with others (PSS)."""
    with suppress(OSError):
        return (
            int(re.findall(r"^Pss:\s+(\d+)", Path(f"/proc/{process}/smaps_rollup").read_text(), re.MULTILINE)[0]) / 1e3
        )
    return 0


def used_mb(ask: Sequence[str]) -> float:
    """Memory of a board that programs cannot have; 0 when it does not answer. `ask` prints its /proc/meminfo."""
    with suppress(subprocess.TimeoutExpired):
        said = subprocess.run(ask, capture_output=True, text=True, timeout=10, check=False).stdout
        found = dict(re.findall(r"^(\w+):\s+(\d+) kB", said, re.MULTILINE))
        if "MemAvailable" in found:
            return (int(found["MemTotal"]) - int(found["MemAvailable"])) / 1e3
    return 0


class Cost:
    """A context that measures what runs in it. The command `ask` asks a board for its memory every few seconds."""

    def __init__(self, board: str, ask: Sequence[str]) -> None:
        self.board, self.ask = board, ask
        self.control_mb = self.board_mb = self.control_cpu_s = 0.0
        self._end = threading.Event()
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._control, self._board)]

    def _control(self) -> None:
        while not self._end.wait(EVERY_S):
            self.control_mb = max(self.control_mb, sum(map(memory_mb, descendants(os.getpid()))))

    def _board(self) -> None:
        while not self._end.wait(EVERY_S):
            self.board_mb = max(self.board_mb, used_mb(self.ask))

    def __enter__(self) -> Cost:
        self._began = _children_cpu_s()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(15)
        self.control_cpu_s = _children_cpu_s() - self._began

    def figures(self) -> dict[str, float]:
        """What was measured, for the record."""
        return {
            "control_cpu_s": round(self.control_cpu_s, 1),
            "control_mb": round(self.control_mb),
            f"{self.board}_mb": round(self.board_mb),
        }


def _children_cpu_s() -> float:
    """Processor time of children that have ended, and theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
