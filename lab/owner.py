"""Whose an instance of the lab is: two checkouts must not fight over one namespace."""

import json
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import process
from lab.errors import LabError
from lab.locks import held
from lab.settings import ROOT, Settings


@dataclass(frozen=True)
class Mark:
    """What `up` leaves for later commands."""

    root: str
    """Checkout that owns the instance."""
    kernel: str
    """The kernel that its boards run."""


def read(settings: Settings) -> Mark | None:
    """The mark of the instance; None if it has no owner."""
    try:
        return Mark(**json.loads((settings.run / "owner.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def write(settings: Settings, kernel: Path) -> None:
    """Make this checkout the owner."""
    (settings.run / "owner.json").write_text(json.dumps(asdict(Mark(str(ROOT), str(kernel)))) + "\n")


def alive(settings: Settings) -> list[str]:
    """Names of what runs of the instance: `gateway` and boards."""
    return sorted(path.stem for path in settings.run.glob("*.pid") if process.running(path))


def refuse_if_foreign(settings: Settings) -> None:
    """Refuse a running lab of another checkout; what a stopped one left may be taken over.

    Raises:
        LabError: it is running; the message names it.
    """
    mark = read(settings)
    if mark and mark.root != str(ROOT) and (running := alive(settings)):
        raise LabError(
            f"the lab `{settings.name}` is that of the checkout {mark.root} and runs ({', '.join(running)}).\n"
            "Take it down there (`python -m lab down`), or run a second one here: EDGE_LAB_NAME=mine "
            "EDGE_LAB_SUBNET=10.78.0"
        )


def require_up(settings: Settings) -> Mark:
    """The mark of this checkout's running lab.

    Raises:
        LabError: the lab is down or another checkout's.
    """
    refuse_if_foreign(settings)
    mark = read(settings)
    if not mark or mark.root != str(ROOT) or "gateway" not in alive(settings):
        raise LabError("the lab is not up: run `python -m lab up` first")
    return mark


def locked(settings: Settings, what: str) -> AbstractContextManager[None]:
    """Keep two commands from changing the same thing (the instance, or one board) at once."""
    return held(settings.run / f"{what}.lock", f"waiting for another lab command to finish with {what}")
