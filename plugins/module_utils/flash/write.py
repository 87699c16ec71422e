"""Writing a card and verifying it in full. A card is the image's bytes, with a seeded boot partition in front.

An interrupted write must never look like a card: an image file is written beside the old one and renamed after
verification; on a block device the first sector (MBR) is cleared first and written last, after everything else was
verified.

A counterfeit card reports more than it has. What is written beyond its end is lost, or wraps to its beginning: a
board shows that weeks later, when its card fills. So marks are written all over the card, before the image.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.edge_ai.cluster.plugins.module_utils.files import sync

CHUNK = 4 * 1024 * 1024
#: At most this much waits in memory for a slow card, so that a run that is ended need not write it all first.
UNSYNCED = 16 * CHUNK
SECTOR = 512
MARK = 4096
#: How long the removal of a device may take to be known, after a write to it failed (seconds).
REMOVAL_S = 2
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


def check_wanted() -> None:
    """Raise WriteError when no process waits for the result, as after Ctrl-C: what Ansible runs by sudo goes on."""
    poll = select.poll()
    poll.register(1, 0)
    if any(events & select.POLLERR for _, events in poll.poll(0)):
        raise WriteError("the run was ended")


def copy_range(source: int, target: int, start: int, end: int, sparse: bool) -> None:
    """Copy bytes to the same offset in another file, or, unless `sparse` (holes are skipped), on a card."""
    unsynced = 0
    parts = extents(source, start, end) if sparse else iter([(start, end)])
    for first, last in parts:
        position = first
        while position < last:
            check_wanted()
            wanted = min(CHUNK, last - position)
            copied = share(source, target, position, wanted) if sparse else 0
            if not copied:
                data = os.pread(source, wanted, position)
                if not data:
                    raise WriteError(
                        f"the image ends at {position}, {last} bytes were expected: delete it from the cache"
                    )
                copied = os.pwrite(target, data, position)
            position += copied
            unsynced += copied
            if not sparse and unsynced >= UNSYNCED:
                os.fdatasync(target)
                unsynced = 0


def share(source: int, target: int, position: int, count: int) -> int:
    """Have the kernel copy at most `count` bytes between files; how many it has, 0 where it cannot.

    On a file system that shares blocks (XFS, btrfs), cards take no room but for what boards change on them.
    """
    # Linux has it. EXDEV: another file system, EINVAL and EOPNOTSUPP: one that cannot.
    if not hasattr(os, "copy_file_range"):
        return 0
    try:
        return os.copy_file_range(source, target, count, position, position)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            return 0
        raise


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
                check_wanted()
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
    sync(card.parent)
    return Written(written - started, time.monotonic() - written, compared)


def mark_positions(image_bytes: int, card_bytes: int) -> list[int]:
    """Where marks are written: from the image's end to the card's, at most half an image apart, and at the end.

    Whatever a card has really, one of them, if it wraps, is in the image's area, and overwritten by the image.
    """
    step = max(image_bytes // 2 // MARK, 1) * MARK
    first, last = -(-image_bytes // MARK) * MARK, card_bytes // MARK * MARK - MARK
    return [*range(first, last, step), last] if first <= last else []


def mark(position: int, nonce: bytes) -> bytes:
    """Content of the mark at a position, in this write only."""
    return hashlib.shake_256(nonce + position.to_bytes(8, "big")).digest(MARK)


def check_marks(card: int, positions: list[int], nonce: bytes, size: int) -> None:
    """Raise WriteError when a mark is not where it was written."""
    for position in positions:
        if os.pread(card, MARK, position) != mark(position, nonce):
            raise WriteError(
                f"the card reports {size / 1e9:.1f} GB and has less, at most {position / 1e9:.1f} GB: what is written "
                f"beyond is lost. It is counterfeit or faulty: use another card"
            )


def write_block_card(source: Source, device: Path) -> Written:
    """Write a block device from end to end. The gate has passed; O_EXCL makes the kernel refuse a device in use.

    Raises WriteError when it cannot be opened or written, or the comparison fails.
    """
    started = time.monotonic()
    nonce = os.urandom(16)
    try:
        with opened(device, os.O_RDWR | os.O_EXCL) as target:
            size = os.lseek(target, 0, os.SEEK_END)
            positions = mark_positions(source.image_bytes, size)
            os.pwrite(target, bytes(SECTOR), 0)
            for position in positions:
                os.pwrite(target, mark(position, nonce), position)
            os.fsync(target)
            for path, start, end in source.pieces():
                with opened(path, os.O_RDONLY) as reference:
                    copy_range(reference, target, max(start, SECTOR), end, sparse=False)
            _flush(target)
            written = time.monotonic()
            # Before the image, so that a card that has less than the image is named for what it is, too.
            check_marks(target, positions, nonce, size)
            compared = compare(source, target, skip=SECTOR)
            with opened(source.head, os.O_RDONLY) as reference:
                copy_range(reference, target, 0, SECTOR, sparse=False)
            _flush(target)
            compare(Source(source.head, SECTOR, source.head, SECTOR), target)
            # Fails on a loop device, or when a desktop mounted it first; the card itself is complete.
            with contextlib.suppress(OSError):
                fcntl.ioctl(target, BLKRRPART)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY) and is_gone(device):
            raise WriteError(
                f"{device} is gone: the card or its reader was removed while it was written. The card is not usable "
                f"before it is written again: insert it, and do not touch it until it is verified"
            ) from error
        reasons = {
            errno.EACCES: "run ansible-playbook as root, or set flash_become: true",
            errno.EPERM: "run ansible-playbook as root, or set flash_become: true",
            errno.EROFS: "the card is read-only: move its lock slider",
            errno.EBUSY: "the kernel reports it as in use: unmount it, or wait for the run that writes it",
            errno.ENOSPC: "the card is smaller than it reports: it is faulty or counterfeit",
            errno.EIO: "the card or its reader is faulty, use another",
        }
        hint = reasons.get(error.errno or 0, "check the kernel log (dmesg)")
        raise WriteError(f"{device} cannot be written ({error.strerror}): {hint}") from error
    return Written(written - started, time.monotonic() - written, compared)


def is_gone(device: Path) -> bool:
    """Whether a device, or what was in it, was removed. Writes fail a moment before the kernel knows why."""
    latest = time.monotonic() + REMOVAL_S
    while True:
        try:
            with opened(device, os.O_RDONLY) as target:
                gone = os.lseek(target, 0, os.SEEK_END) == 0
        except OSError as error:
            gone = error.errno not in (errno.EACCES, errno.EPERM, errno.EBUSY)
        if gone or time.monotonic() > latest:
            return gone
        time.sleep(0.1)


def _flush(device: int) -> None:
    """Everything is on the device and no longer in the page cache."""
    os.fsync(device)
    fcntl.ioctl(device, BLKFLSBUF)
    os.posix_fadvise(device, 0, 0, os.POSIX_FADV_DONTNEED)
