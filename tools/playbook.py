"""One run of a playbook of this checkout by ansible-runner, with its seconds and counts, for tests and benchmarks."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import ansible_runner

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Run:
    """A playbook's run: seconds in all and by play, Ansible's return code, tasks that changed or failed by host."""

    seconds: float
    plays: dict[str, float]
    rc: int
    changed: dict[str, int]
    failures: dict[str, int]
    log: Path
    """What Ansible printed."""


class Starts:
    """When plays of a run began, from the events of ansible-runner."""

    def __init__(self) -> None:
        self.times: list[tuple[str, float]] = []

    def note(self, event: dict[str, Any]) -> bool:
        """An event handler, which has the last event alone kept: it has the run's counts."""
        if event["event"] in ("playbook_on_play_start", "playbook_on_stats"):
            created = datetime.fromisoformat(event["created"]).timestamp()
            self.times.append((event["event_data"].get("play", ""), created))
        return bool(event["event"] == "playbook_on_stats")

    def seconds(self) -> dict[str, float]:
        """Seconds by play; plays of one name are added up."""
        plays: dict[str, float] = {}
        for (name, begun), (_, ended) in pairwise(self.times):
            plays[name] = round(plays.get(name, 0) + ended - begun, 1)
        return plays


def run(
    inventory: str | Path, playbook: str, options: str = "", *, limit: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Run:  # fmt: skip
    """Run a playbook as a user would, with an inventory, paths below the checkout, and options of the command line.

    It is ended after `limit` seconds. A playbook that fails is no error: see the return code.
    """
    folder = ROOT / ".ansible" / "runner"
    folder.mkdir(parents=True, exist_ok=True)
    # Otherwise a playbook without options gets those of the one before.
    (folder / "env" / "cmdline").unlink(missing_ok=True)
    # An inventory that is not there would be taken for the text of one, and written to a file.
    shutil.rmtree(folder / "inventory", ignore_errors=True)
    starts, started = Starts(), time.monotonic()
    runner = ansible_runner.interface.run(
        private_data_dir=str(folder), project_dir=str(ROOT), cmdline=f"-i {inventory} {options}".strip(),
        playbook=playbook, quiet=True, rotate_artifacts=20, timeout=limit, event_handler=starts.note,
        # ansible-runner would have boards with unknown host keys answered.
        envvars={
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_HOST_KEY_CHECKING": "True", **(environment or {}),
        },
    )  # fmt: skip
    seconds = round(time.monotonic() - started, 1)
    stats = runner.stats or {}
    return Run(
        seconds,
        starts.seconds(),
        runner.rc,
        {host: count for host, count in stats.get("changed", {}).items() if count},
        {**stats.get("failures", {}), **stats.get("dark", {})},
        Path(runner.config.artifact_dir, "stdout"),
    )
