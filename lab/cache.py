"""Builds kept under the user's cache directory by a digest of their inputs.

A build is made in a folder beside its place and renamed when it is complete, so that a killed build leaves nothing
that counts. A lock per kind of build keeps two commands from building the same thing twice.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from lab.locks import held
from lab.progress import say

KEPT = 4
"""How many builds of a kind are kept, those used last, so that two checkouts or a step back need no building."""


def digest_of(parts: Iterable[str | Path], base: Path) -> str:
    """Digest (16 hex digits) of texts and files; a folder counts with names, modes and contents of all in it.

    Args:
        parts: texts, and paths to files or folders.
        base: paths count relative to it, so that two checkouts of the same content agree.
    """
    sum_ = hashlib.sha256()

    def add(label: str, content: bytes) -> None:
        sum_.update(f"{label}\0{len(content)}\0".encode() + content)

    for part in parts:
        if isinstance(part, str):
            add("text", part.encode())
            continue
        files = [part] if not part.is_dir() else sorted(path for path in part.rglob("*") if not path.is_dir())
        for path in files:
            if "__pycache__" in path.parts:
                continue
            executable = "x" if path.stat().st_mode & 0o100 else "-"
            add(f"{path.relative_to(base)} {executable}", path.read_bytes())
    return sum_.hexdigest()[:16]


class Cache:
    """The cache directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, what: str, digest: str) -> Path:
        """Where the build of that kind and digest is, or will be."""
        return self.root / f"{what}-{digest}"

    def has(self, what: str, digest: str) -> bool:
        """Whether that build is there and complete."""
        return self.path(what, digest).is_dir()

    def find(self, what: str, digest: str) -> list[Path]:
        """That build, which thereby counts as used, if it is there and complete."""
        place = self.path(what, digest)
        if not place.is_dir():
            return []
        os.utime(place)
        return [place]

    def ensure(self, what: str, digest: str, make: Callable[[Path], None], again: bool = False) -> Path:
        """The finished build, made now if it is missing.

        Args:
            what: kind of build, such as `kernel`.
            digest: digest of its inputs.
            make: fills the empty folder that it is given.
            again: build even if it is there.
        """
        place = self.path(what, digest)
        if place.is_dir() and not again:
            os.utime(place)
            return place
        with held(self.root / f"{what}.lock", f"waiting for another command that is building {what}"):
            if place.is_dir() and not again:
                return place
            for leftover in self.root.glob(f".{what}-{'[0-9a-f]' * 16}-*"):
                shutil.rmtree(leftover)
            say(f"building {what} ({digest}){self._last_time(what)}")
            begun = time.monotonic()
            work = self.root / f".{what}-{digest}-{os.getpid()}"
            work.mkdir()
            try:
                make(work)
                if place.exists():
                    shutil.rmtree(place)
                work.rename(place)
            finally:
                shutil.rmtree(work, ignore_errors=True)
            seconds = time.monotonic() - begun
            self._remember(what, seconds)
            say(f"{what} is built in {seconds:.0f} s: {place}")
            self._prune(what, place)
        return place

    def _durations(self) -> dict[str, float]:
        try:
            durations = json.loads((self.root / "durations.json").read_text())
        except (OSError, ValueError):
            return {}
        return durations if isinstance(durations, dict) else {}

    def _last_time(self, what: str) -> str:
        seconds = self._durations().get(what)
        return f": took {seconds:.0f} s last time" if seconds else ""

    def _remember(self, what: str, seconds: float) -> None:
        temporary = self.root / f"durations.{os.getpid()}"
        temporary.write_text(json.dumps({**self._durations(), what: round(seconds, 1)}, indent=1) + "\n")
        temporary.rename(self.root / "durations.json")

    def _prune(self, what: str, newest: Path) -> None:
        builds = sorted(
            (path for path in self.root.glob(f"{what}-{'[0-9a-f]' * 16}") if path != newest),
            key=lambda path: path.stat().st_mtime,
            reverse=True,
        )
        for old in builds[KEPT - 1 :]:
            shutil.rmtree(old, ignore_errors=True)
