"""Commands on a board, which end in any case: a share that hangs must not hold a module up. Standard library only."""

from __future__ import annotations

import json
import subprocess
from typing import Any, NamedTuple


class Done(NamedTuple):
    """What became of a command; status 124 when it did not end in time, 127 when it is not there."""

    status: int
    output: str
    errors: str


def run(*argv: str, timeout: int = 60, text: str | None = None) -> Done:
    """A command, `text` being its input."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False, input=text)
    except subprocess.TimeoutExpired:
        return Done(124, "", f"no end after {timeout} s")
    except OSError as error:
        return Done(127, "", str(error))
    return Done(done.returncode, done.stdout, done.stderr)


def ip(*arguments: str) -> list[dict[str, Any]]:
    """What `ip` shows; nothing where it fails."""
    done = run("ip", "-json", *arguments)
    return json.loads(done.output) if done.status == 0 and done.output.strip() else []


def unit(name: str, properties: str, *options: str) -> dict[str, str]:
    """Properties of a systemd unit, given with commas, by name; empty without systemd."""
    shown = run("systemctl", "show", name, "-p", properties, *options).output
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
