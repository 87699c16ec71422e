"""Say how long slow tasks took last time while a playbook runs, and at its end how long each stage took.

Durations (seconds) are remembered per playbook path and task name in ``.ansible/durations.json`` of the
directory that ansible-playbook was started from; that file is a convenience and may be deleted.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: stage_times
type: aggregate
short_description: durations of stages and slow tasks, now and last time
description:
  - Announces before a slow task how long it took last time, and sums up stages at the end.
requirements: [enable in ansible.cfg]
"""

#: A task that took at least this many seconds last time is announced.
ANNOUNCE_SECONDS = 5.0


class Durations:
    """Durations in seconds by key, kept in a JSON file that is replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            loaded = json.loads(path.read_text())
        except (OSError, ValueError):
            loaded = {}
        self.seconds: dict[str, float] = loaded if isinstance(loaded, dict) else {}

    def save(self) -> None:
        """Write the file; two runs at once may lose each other's figures, never the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(self.seconds, indent=0, sort_keys=True) + "\n")
        temporary.replace(self.path)


class CallbackModule(CallbackBase):
    """Time plays and tasks on the control node's monotonic clock."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "stage_times"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.durations = Durations(Path(".ansible/durations.json"))
        self.playbook = ""
        self.task: tuple[str, float] | None = None
        self.stage: tuple[str, float] | None = None
        self.stages: list[tuple[str, float, float | None]] = []

    def _key(self, kind: str, name: str) -> str:
        return f"{self.playbook}|{kind}|{name}"

    def _end_task(self) -> None:
        if self.task:
            key, started = self.task
            self.durations.seconds[key] = round(time.monotonic() - started, 1)
            self.task = None

    def _end_stage(self) -> None:
        self._end_task()
        if self.stage:
            name, started = self.stage
            key = self._key("stage", name)
            took = time.monotonic() - started
            self.stages.append((name, took, self.durations.seconds.get(key)))
            self.durations.seconds[key] = round(took, 1)
            self.stage = None

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Remember which playbook this is: the same task may be slow in one and fast in another."""
        self.playbook = Path(playbook._file_name).name

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Close the stage before, and announce this one with its last duration."""
        self._end_stage()
        name = play.get_name().strip()
        self.stage = (name, time.monotonic())
        last = self.durations.seconds.get(self._key("stage", name))
        if last is not None and last >= ANNOUNCE_SECONDS:
            self._display.display(f"  ({name}: took {last:.0f} s last time)", color="blue")

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Announce a task that was slow last time."""
        self._end_task()
        key = self._key("task", task.get_name().strip())
        last = self.durations.seconds.get(key)
        if last is not None and last >= ANNOUNCE_SECONDS:
            self._display.display(f"  (took {last:.0f} s last time)", color="blue")
        self.task = (key, time.monotonic())

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Print what each stage took, and keep the figures for the next run."""
        self._end_stage()
        self._display.banner("STAGES")
        for name, took, last in self.stages:
            before = f"   last time {last:6.1f} s" if last is not None else ""
            self._display.display(f"{name:<44} {took:7.1f} s{before}")
        total = sum(took for _, took, _ in self.stages)
        self._display.display(f"{'together':<44} {total:7.1f} s")
        self.durations.save()
