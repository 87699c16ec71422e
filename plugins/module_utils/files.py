"""Digests and texts of files, files that are replaced as a whole, and room for them. Standard library only."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

#: Bytes that are read of a small file, such as a token, a unit, or what the kernel says.
LONGEST = 1 << 20


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file in hex. Raises OSError."""
    with Path(path).open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def text_of(path: str | Path) -> str:
    """A small file's text; empty when it cannot be read. What is longer than such files are is cut."""
    try:
        with Path(path).open("rb") as file:
            return file.read(LONGEST).decode(errors="replace")
    except OSError:
        return ""


def free_at(path: Path) -> int:
    """Free bytes of the disk on which `path` is or would be."""
    while not path.exists():
        path = path.parent
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def settle(part: Path, final: Path) -> None:
    """Give a finished file its name, durably: its content is on the disk before, and the name after. Raises OSError."""
    with part.open("rb") as written:
        os.fsync(written.fileno())
    part.replace(final)
    sync(final.parent)


def sync(directory: Path) -> None:
    """The names in a directory are on the disk, where its file system can be asked for that. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some that are reached over a network, or by FUSE, know it of files alone.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str, mode: int | None = 0o644) -> None:
    """Replace a file as a whole: readers, and a board that lost power, have the old one or the new one.

    Only its owner can read it before it has its `mode`; None for file systems without modes (vfat). Raises
    OSError.
    """
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as new:
        new.write(text)
        if mode is not None:
            os.fchmod(new.fileno(), mode)
    settle(part, path)
