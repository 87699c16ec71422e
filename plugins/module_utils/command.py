"""Commands that end in any case: a share that hangs must not hold a module up. Standard library only, for boards."""

from __future__ import annotations

import json
import subprocess
from typing import Any, NamedTuple

#: Status of a command that did not end in time, and of one that is not there.
LATE, MISSING = 124, 127


class Done(NamedTuple):
    """What became of a command; its status may be LATE or MISSING."""

    status: int
    output: str
    errors: str


def run(*argv: str, timeout: int = 60, text: str | None = None) -> Done:
    """A command, `text` being its input."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False, input=text)
    except subprocess.TimeoutExpired:
        return Done(LATE, "", f"no end after {timeout} s")
    except OSError as error:
        return Done(MISSING, "", str(error))
    return Done(done.returncode, done.stdout, done.stderr)


def completed(*argv: str, timeout: int = 60) -> Done:
    """The same, but raises TimeoutError for one that did not end: half of an answer would be taken for another one."""
    done = run(*argv, timeout=timeout)
    if done.status == LATE:
        raise TimeoutError(f"{' '.join(argv[:2])}: {done.errors}; see dmesg on this board for its card, then run again")
    return done


def ip(*arguments: str) -> list[dict[str, Any]]:
    """What `ip` shows; nothing where it fails."""
    done = run("ip", "-json", *arguments)
    return json.loads(done.output) if done.status == 0 and done.output.strip() else []


def unit(name: str, properties: str, *options: str) -> dict[str, str]:
    """Properties of a systemd unit, given with commas, by name; empty without systemd."""
    shown = run("systemctl", "show", name, "-p", properties, *options).output
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
