"""Durations of an earlier run, kept in a file."""

from __future__ import annotations

import json
import os
from pathlib import Path


class Durations:
    """Durations in seconds by key, kept in a JSON file that is replaced as a whole; it may be deleted at any time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            loaded = json.loads(path.read_text())
        except (OSError, ValueError):
            loaded = {}
        entries = loaded.items() if isinstance(loaded, dict) else ()
        self.seconds: dict[str, float] = {key: each for key, each in entries if isinstance(each, int | float)}

    def save(self) -> None:
        """Write the file; two runs at once may lose each other's figures, never the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(self.seconds, indent=0, sort_keys=True) + "\n")
        temporary.replace(self.path)
