"""Writing a card and verifying it in full. A card is the image's bytes, with a seeded boot partition in front.

An interrupted write must never look like a card: an image file is written beside the old one and renamed after
verification; on a block device the first sector (MBR) is cleared first and written last, after everything else was
verified.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CHUNK = 4 * 1024 * 1024
SECTOR = 512
BLKFLSBUF = 0x1261
BLKRRPART = 0x125F


class WriteError(Exception):
    """The card could not be written or differs from what was written; the text says what to do."""


@dataclass(frozen=True)
class Source:
    """Content of a card: `head` (table and seeded boot partition, `head_bytes` long), then the rest of `image`."""

    head: Path
    head_bytes: int
    image: Path
    image_bytes: int

    def pieces(self) -> list[tuple[Path, int, int]]:
        """(file, start, end) in card order; positions in the file equal positions on the card."""
        return [(self.head, 0, self.head_bytes), (self.image, self.head_bytes, self.image_bytes)]


@dataclass(frozen=True)
class Written:
    """Result of a write: seconds to write and to read back, bytes compared."""

    write_seconds: float
    verify_seconds: float
    bytes_compared: int


def extents(file: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the parts of a file between `start` and `end` that are not holes."""
    position = start
    while position < end:
        try:
            data = os.lseek(file, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        if data >= end:
            return
        hole = min(os.lseek(file, data, os.SEEK_HOLE), end)
        yield data, hole
        position = hole


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """A file descriptor that is closed at the end."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def copy_range(source: int, target: int, start: int, end: int, sparse: bool) -> None:
    """Copy bytes to the same offset in another file; holes are skipped when `sparse`."""
    parts = extents(source, start, end) if sparse else iter([(start, end)])
    for first, last in parts:
        position = first
        while position < last:
            data = os.pread(source, min(CHUNK, last - position), position)
            if not data:
                raise WriteError(f"the image ends at {position}, {last} bytes were expected: delete it from the cache")
            view = memoryview(data)
            while view:
                count = os.pwrite(target, view, position)
                view = view[count:]
                position += count


def make_head(image: Path, head: Path, head_bytes: int) -> None:
    """A sparse copy of an image's first `head_bytes`."""
    with opened(image, os.O_RDONLY) as source, opened(head, os.O_RDWR | os.O_CREAT | os.O_TRUNC) as target:
        os.ftruncate(target, head_bytes)
        copy_range(source, target, 0, head_bytes, sparse=True)


def compare(source: Source, card: int, skip: int = 0) -> int:
    """Read a card back against its source; returns the bytes compared, without `skip` bytes at the start.

    Raises WriteError at the first difference.
    """
    compared = 0
    for path, start, end in source.pieces():
        with opened(path, os.O_RDONLY) as reference:
            position = max(start, skip)
            while position < end:
                want = os.pread(reference, min(CHUNK, end - position), position)
                have = os.pread(card, len(want), position)
                if have != want or not want:
                    raise WriteError(
                        f"read back, the card differs within the {CHUNK} bytes from {position}: "
                        f"the card or its reader is faulty or counterfeit, use another"
                    )
                position += len(want)
                compared += len(want)
    return compared


def write_file_card(source: Source, card: Path, size: int) -> Written:
    """Make `card` an image file of `size` bytes. The earlier file stays until the new one has been read back.

    Raises WriteError when the disk is full or the comparison fails.
    """
    part = card.with_name(f".{card.name}.part")
    started = time.monotonic()
    try:
        with opened(part, os.O_RDWR | os.O_CREAT) as target:
            os.ftruncate(target, 0)
            os.ftruncate(target, size)
            for path, start, end in source.pieces():
                with opened(path, os.O_RDONLY) as reference:
                    copy_range(reference, target, start, end, sparse=True)
            os.fsync(target)
            written = time.monotonic()
            # From the disk, not from memory: clean pages are dropped, so the comparison reads what was stored.
            os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)
            compared = compare(source, target)
            part.rename(card)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            part.unlink(missing_ok=True)
            raise WriteError(
                f"{card.parent} is full ({error.strerror}): free some space; an earlier card is untouched"
            ) from error
        raise WriteError(f"{card} cannot be written: {error.strerror}") from error
    except WriteError:
        part.unlink(missing_ok=True)
        raise
    directory = os.open(card.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return Written(written - started, time.monotonic() - written, compared)


def write_block_card(source: Source, device: Path) -> Written:
    """Write a block device from end to end. The gate has passed; O_EXCL makes the kernel refuse a device in use.

    Raises WriteError when it cannot be opened or written, or the comparison fails.
    """
    started = time.monotonic()
    try:
        with opened(device, os.O_RDWR | os.O_EXCL) as target:
            os.pwrite(target, bytes(SECTOR), 0)
            os.fsync(target)
            for path, start, end in source.pieces():
                with opened(path, os.O_RDONLY) as reference:
                    copy_range(reference, target, max(start, SECTOR), end, sparse=False)
            _flush(target)
            written = time.monotonic()
            compared = compare(source, target, skip=SECTOR)
            with opened(source.head, os.O_RDONLY) as reference:
                copy_range(reference, target, 0, SECTOR, sparse=False)
            _flush(target)
            compare(Source(source.head, SECTOR, source.head, SECTOR), target)
            # Fails on a loop device, or when a desktop mounted it first; the card itself is complete.
            with contextlib.suppress(OSError):
                fcntl.ioctl(target, BLKRRPART)
    except OSError as error:
        reasons = {
            errno.EACCES: "run ansible-playbook as root, or set flash_become: true",
            errno.EPERM: "run ansible-playbook as root, or set flash_become: true",
            errno.EBUSY: "the kernel reports it as in use: unmount it",
            errno.ENOSPC: "the card is smaller than it reports: it is faulty or counterfeit",
            errno.EIO: "the card or its reader is faulty, use another",
        }
        hint = reasons.get(error.errno or 0, "check the kernel log (dmesg)")
        raise WriteError(f"{device} cannot be written ({error.strerror}): {hint}") from error
    return Written(written - started, time.monotonic() - written, compared)


def _flush(device: int) -> None:
    """Everything is on the device and no longer in the page cache."""
    os.fsync(device)
    fcntl.ioctl(device, BLKFLSBUF)
    os.posix_fadvise(device, 0, 0, os.POSIX_FADV_DONTNEED)
