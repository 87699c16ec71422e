"""Progress messages of the lab."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_STARTED = time.monotonic()


def say(message: str) -> None:
    """Print one line of progress, with the seconds since the command started, to standard error."""
    print(f"lab {time.monotonic() - _STARTED:6.1f} s  {message}", file=sys.stderr, flush=True)


@contextmanager
def step(message: str) -> Iterator[None]:
    """Say that something begins, and afterwards how long it took."""
    begun = time.monotonic()
    say(f"{message} ...")
    yield
    say(f"{message}: done in {time.monotonic() - begun:.1f} s")
