"""Playbooks driven by ansible-runner, each step with its duration and its counts of changes, kept in a record."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.support import secrets
from tests.support.cluster import CLUSTER
from tests.support.paths import ROOT
from tools.playbook import run

INVENTORY = str(ROOT / os.environ.get("EDGE_INVENTORY", "inventory/lab"))
LIMIT_S = 1800
"""No playbook of these tests may take longer."""
FAST = ("-e", '\'{"notebooks_profiles": ["fast"]}\'')
"""Options for the short profile alone."""
NEXT = "v1.36.3+lab2"
ON_NEXT = ("-e", f"k3s_version={NEXT}")
"""Options for a cluster that was upgraded."""
KEY_FILE = CLUSTER.path("cluster_backups_dir").with_suffix(".key")
KEY = ("-e", f"cluster_backup_identity={KEY_FILE}")
"""Options for making and restoring backups: where the owner of these tests keeps the key."""


@dataclass(frozen=True)
class Step:
    """One playbook's run: seconds, Ansible's return code, changed tasks by host, and seconds by play."""

    name: str
    command: str
    started: str
    seconds: float
    rc: int
    changed: dict[str, int]
    failures: dict[str, int]
    output: str = field(repr=False)
    stages: dict[str, float] = field(default_factory=dict)
    figures: dict[str, object] = field(default_factory=dict)
    """What a test has measured meanwhile."""

    def changed_hosts(self) -> set[str]:
        """Hosts on which something changed."""
        return {host for host, count in self.changed.items() if count}


class Record:
    """Steps in the order they were done; the file is written again after each, so a broken chain leaves its part."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps: list[Step] = []

    def add(self, step: Step) -> Step:
        self.steps.append(step)
        self.write()
        print(f"\n{step.name}: {step.seconds:.0f} s, rc {step.rc}, changed {step.changed or 'nothing'}", flush=True)
        return step

    def note(self, figures: dict[str, object]) -> None:
        """What was measured of the last step, or after it."""
        self.steps[-1].figures.update(figures)
        self.write()
        print(f"{self.steps[-1].name}: {figures}", flush=True)

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = [{key: value for key, value in asdict(each).items() if key != "output"} for each in self.steps]
        temporary = self.path.with_suffix(".part")
        temporary.write_text(json.dumps(rows, indent=1) + "\n")
        temporary.replace(self.path)


class Plays:
    """Runs playbooks of this project as a user would, on the inventory of these tests."""

    def __init__(self, record: Record) -> None:
        self.record = record

    def run(
        self, name: str, playbook: str, *options: str, expect: int = 0, days: int = 0, inventory: str = INVENTORY,
        limit: int = LIMIT_S,
    ) -> Step:  # fmt: skip
        """A playbook with command-line options; raises AssertionError with its last lines when its end is not `expect`.

        `expect` is 0 for success and 2 for a play that fails, as ansible-playbook's return codes are. For the
        playbook, it is `days` later than it is.
        """
        started = datetime.now(UTC)
        done = run(
            inventory, playbook, " ".join(options), limit=limit,
            environment={"ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", **(later(days) if days else {})},
        )  # fmt: skip
        step = Step(
            name,
            " ".join(["ansible-playbook", playbook, *options]),
            started.isoformat(timespec="seconds"),
            done.seconds,
            done.rc,
            done.changed,
            done.failures,
            done.log.read_text(errors="replace"),
            done.plays,
        )
        self.record.add(step)
        assert step.rc == expect, f"{step.command} ended with {step.rc}, not {expect}:\n" + step.output[-4000:]
        assert not (shown := secrets.in_text(step.output)), f"{step.command} shows {', '.join(shown)}"
        return step

    def kill_in(self, stage: str, playbook: str, *options: str, after: float) -> None:
        """Start a playbook and kill its control process with all its children, `after` seconds into a stage.

        A stage is the name of a play. One that is over sooner is not killed; when the playbook never comes to
        the stage, AssertionError is raised.
        """
        command = ["ansible-playbook", "-i", INVENTORY, playbook, *shlex.split(" ".join(options))]
        started, clock = datetime.now(UTC), time.monotonic()
        log = ROOT / ".ansible" / f"killed-{os.getpid()}.log"
        log.parent.mkdir(exist_ok=True)
        with log.open("w+") as out:
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
            )  # fmt: skip
            try:
                end = time.monotonic() + LIMIT_S
                while f"PLAY [{stage}]" not in (text := log.read_text(errors="replace")):
                    assert process.poll() is None, f"{' '.join(command)} ended before {stage}:\n{text[-3000:]}"
                    assert time.monotonic() < end, f"{stage} was not reached in {LIMIT_S} s:\n{text[-3000:]}"
                    time.sleep(0.2)
                try:
                    process.wait(after)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(30)
        self.record.add(
            Step(f"killed in: {stage}", " ".join(command), started.isoformat(timespec="seconds"),
                 round(time.monotonic() - clock, 1), process.returncode, {}, {}, log.read_text(errors="replace"))
        )  # fmt: skip


def later(days: int) -> dict[str, str]:
    """Environment of a process for which it is some days later; files keep their times."""
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    return {"LD_PRELOAD": str(library), "FAKETIME": f"+{days}d", "NO_FAKE_STAT": "1"}


def recorded(chain: str) -> Plays:
    """Plays whose record is results/<chain>-<now>.json."""
    KEY_FILE.parent.mkdir(exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return Plays(Record(ROOT / "results" / f"{chain}-{stamp}.json"))


def unchanged(step: Step) -> None:
    """Assert that a run has changed nothing."""
    assert not step.changed_hosts(), f"{step.command} changed something: {step.changed}"


def lab(*arguments: str, timeout: float = 900) -> str:
    """What `python -m lab ...` prints; raises CalledProcessError when it fails."""
    command = [sys.executable, "-m", "lab", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=timeout).stdout


def cards_die(*boards: str) -> None:
    """Pull the plugs of boards of the lab, and lose their cards."""
    lab("power", "off", "--hard", *boards)
    for board in boards:
        Path(str(CLUSTER.var("flash_card", board))).unlink()
