"""Says what is being done, how long that took last time, and runs long commands with a sign of life."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .inputs import ImageError

#: Seconds between two signs of life.
HEARTBEAT = 15.0


class Progress:
    """Lines to standard output and to a log that others may follow, and durations (seconds) by step, kept in a file."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "progress.log"
        self._times = folder / "timings.json"

    def say(self, line: str) -> None:
        """One line, at once."""
        print(line, flush=True)
        with self.log.open("a") as log:
            log.write(line + "\n")

    def last_time(self, key: str) -> float | None:
        """Seconds that a step took when it last succeeded on this machine, or None."""
        try:
            return float(json.loads(self._times.read_text())[key])
        except (OSError, ValueError, KeyError):
            return None

    @contextmanager
    def step(self, key: str, what: str) -> Iterator[None]:
        """Says that a step begins and how long it took; remembers that."""
        before = self.last_time(key)
        self.say(what + (f" (last time {before:.0f} s)" if before else ""))
        begun = time.monotonic()
        yield
        seconds = time.monotonic() - begun
        self.say(f"{what}: done in {seconds:.0f} s")
        try:
            times = json.loads(self._times.read_text())
        except (OSError, ValueError):
            times = {}
        temporary = self._times.with_suffix(".new")
        temporary.write_text(json.dumps({**times, key: round(seconds, 1)}, indent=1, sort_keys=True) + "\n")
        temporary.replace(self._times)


def run(
    argv: list[str],
    log: Path,
    progress: Progress,
    alive: Callable[[float], str],
    timeout: float,
    env: dict[str, str] | None = None,
) -> str:
    """Runs a command, its output into `log`, and says `alive(seconds so far)` now and then. Returns its output.

    Raises:
        ImageError: it failed or took longer than `timeout` seconds; with the end of its output.
    """
    begun = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env)
        try:
            while True:
                try:
                    code = process.wait(HEARTBEAT)
                    break
                except subprocess.TimeoutExpired:
                    seconds = time.monotonic() - begun
                    if seconds > timeout:
                        raise ImageError(
                            f"{argv[0]} was waited for {timeout:.0f} s (container_image_build_timeout); look at {log}"
                        ) from None
                    progress.say(alive(seconds))
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    text = log.read_text(errors="replace")
    if code:
        tail = "\n".join(text.splitlines()[-25:])
        raise ImageError(f"{argv[0]} ended with {code}; all it said is in {log}, the end of it:\n{tail}")
    return text


def fail(error: object) -> int:
    """Prints an error where the action plugin looks for it. Returns the exit code."""
    print(error, file=sys.stderr, flush=True)
    return 1
