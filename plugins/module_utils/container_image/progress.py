"""Shows progress, durations of earlier runs, and a heartbeat of long commands."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..durations import Durations
from .inputs import ImageError

#: Seconds between two heartbeat lines.
HEARTBEAT = 15.0


class Progress:
    """Lines to standard output and to a log that others may follow, and durations (seconds) by step, kept in a file."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "progress.log"
        self._durations = Durations(folder / "timings.json")

    def show(self, line: str) -> None:
        """Show one line, unbuffered."""
        print(line, flush=True)
        with self.log.open("a") as log:
            log.write(line + "\n")

    @contextmanager
    def step(self, key: str, what: str) -> Iterator[None]:
        """Show that a step begins and how long it took; record that."""
        before = self._durations.seconds.get(key)
        self.show(what + (f" (last time {before:.0f} s)" if before is not None else ""))
        begun = time.monotonic()
        yield
        seconds = time.monotonic() - begun
        self.show(f"{what}: done in {seconds:.0f} s")
        self._durations.seconds[key] = round(seconds, 1)
        self._durations.save()


def run(
    argv: list[str],
    log: Path,
    progress: Progress,
    status: Callable[[float], str],
    timeout: float,
    env: dict[str, str] | None = None,
) -> str:
    """Runs a command, its output into `log`, and shows `status(seconds so far)` regularly. Returns its output.

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
                            f"{argv[0]} did not finish within {timeout:.0f} s "
                            f"(container_image_build_timeout): check {log}"
                        ) from None
                    progress.show(status(seconds))
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    text = log.read_text(errors="replace")
    if code:
        tail = "\n".join(text.splitlines()[-25:])
        raise ImageError(f"{argv[0]} failed with exit code {code}; its output is in {log}, the last lines:\n{tail}")
    return text


def fail(error: object) -> int:
    """Print an error to where the action plugin reads it. Returns the exit code."""
    print(error, file=sys.stderr, flush=True)
    return 1
