"""Digests of large files that hardly ever change, kept beside them. Standard library only."""

from __future__ import annotations

import json
import time
from pathlib import Path

from .files import sha256_of, text_of, write_text

#: Seconds that a file must be older than its digest: what is written in the same tick of the clock has the same times.
SETTLED_S = 2


class Digests:
    """SHA-256 of files, read again only when a file was written since; a Raspberry Pi takes seconds for k3s's.

    Whoever writes a file, whatever times it gives it, changes its ctime, which no program can set.
    """

    def __init__(self, record: Path) -> None:
        """Digests that are kept in the file `record`; none when there is none, or what is there is no such record."""
        self.record = record
        try:
            known = json.loads(text_of(record) or "{}")
        except ValueError:
            known = {}
        self.known: dict[str, object] = known if isinstance(known, dict) else {}
        self.current: dict[str, object] = {}

    def of(self, path: Path) -> str | None:
        """SHA-256 of a file in hex, None when there is no such file. Raises OSError."""
        if not path.is_file():
            return None
        before = path.stat()
        key = [before.st_dev, before.st_ino, before.st_size, before.st_mtime_ns, before.st_ctime_ns]
        entry = self.known.get(str(path))
        sha256 = entry[1] if isinstance(entry, list) and len(entry) == 2 and entry[0] == key else None
        if not isinstance(sha256, str):
            sha256 = sha256_of(path)
        if time.time() - before.st_ctime > SETTLED_S:
            self.current[str(path)] = [key, sha256]
        return sha256

    def keep(self) -> None:
        """Record the digests that were asked for. Without its directory, or on a disk that takes nothing, not."""
        if self.current == self.known or not self.record.parent.is_dir():
            return
        try:
            write_text(self.record, json.dumps(self.current), 0o600)
        except OSError:
            # A card that is read-only is reported by others; here it costs the time alone.
            return
