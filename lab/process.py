"""Processes that outlive the command that started them, and are never mistaken for other processes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.errors import LabError


@dataclass(frozen=True)
class Identity:
    """A process for certain: a pid is used again, a pid with a start time is not."""

    pid: int
    started: int
    """Start time in clock ticks since the machine booted."""

    def alive(self) -> bool:
        """Whether that very process is still running (a zombie is not)."""
        return start_time(self.pid) == self.started


def _stat(pid: int | str) -> list[str] | None:
    """Fields of /proc/<pid>/stat from the third (state) on; None if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def start_time(pid: int) -> int | None:
    """Start time of a running process; None if there is none, or only its zombie."""
    fields = _stat(pid)
    return int(fields[19]) if fields and fields[0] not in "ZX" else None


def identify(pid: int) -> Identity:
    """The identity of a process that is running now."""
    return Identity(pid, start_time(pid) or 0)


def write_identity(path: Path, identity: Identity) -> None:
    """Record a process in a pid file, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(asdict(identity)))
    temporary.rename(path)


def read_identity(path: Path) -> Identity | None:
    """The process that a pid file names, running or not; None if there is no (readable) file."""
    try:
        return Identity(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def running(path: Path) -> Identity | None:
    """The process that a pid file names, if it is running."""
    identity = read_identity(path)
    return identity if identity and identity.alive() else None


def uptime(identity: Identity) -> float:
    """Seconds since a process was started."""
    now = float(Path("/proc/uptime").read_text().split()[0])
    return now - identity.started / os.sysconf("SC_CLK_TCK")


def session_members(identity: Identity) -> list[int]:
    """Processes of the session that a daemon leads or led.

    While one of them runs, the kernel gives the leader's pid to no other process. So when that pid belongs to a
    process with another start time, none of the daemon's is left.
    """
    now = _stat(identity.pid)
    if now and int(now[19]) != identity.started:
        return []
    members = []
    for entry in (path.name for path in Path("/proc").iterdir()):
        fields = _stat(entry) if entry.isdigit() else None
        if fields and fields[0] not in "ZX" and int(fields[3]) == identity.pid:
            members.append(int(entry))
    return members


def kill_session(identity: Identity, patience: float = 10) -> None:
    """Kill a daemon and everything it started, at once.

    Raises:
        LabError: something is still there after `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while members := session_members(identity):
        for pid in members:
            kill(pid)
        if time.monotonic() > deadline:
            raise LabError(f"processes {members} could not be killed")
        time.sleep(0.02)


def kill(pid: int) -> None:
    """Kill a process, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def wait_gone(identity: Identity, seconds: float) -> bool:
    """Wait until a process has ended; whether it has."""
    deadline = time.monotonic() + seconds
    while identity.alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def start_daemon(
    argv: Sequence[str], pid_file: Path, log: Path, seconds: float = 60, prefix: Sequence[str] = ()
) -> Identity:
    """Start `python -m lab ...` as a session of its own; it writes its pid file itself once it works.

    `prefix` is a command that becomes it, such as nsenter.

    Raises:
        LabError: it ended or wrote no pid file in time; with the end of its log.
    """
    pid_file.unlink(missing_ok=True)
    begin = log.stat().st_size if log.exists() else 0
    with log.open("ab") as handle:
        child = subprocess.Popen(
            [*prefix, sys.executable, "-m", "lab", *argv],
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            start_new_session=True,
            cwd=Path(__file__).resolve().parent.parent,
        )
    deadline = time.monotonic() + seconds
    while not (identity := running(pid_file)):
        if child.poll() is not None or time.monotonic() > deadline:
            with log.open(errors="replace") as handle:
                handle.seek(begin)
                said = handle.read()[-2000:].strip()
            if child.poll() is None:
                child.kill()
            raise LabError(f"`lab {' '.join(argv)}` did not start:\n{said}")
        time.sleep(0.02)
    # Popen's destructor would complain about a child that must keep running.
    child.returncode = 0
    return identity
