"""Unpack tar archives whose maker is not trusted: results of notebooks, backups, data sets. Pure Python.

A member is a regular file, a folder or, where they are wanted, a symbolic link; its name is relative and has no `..`;
all together keep a limit of bytes and of members. Everything is reached by descriptors, one component after another
and without following a link, so neither a link in the archive nor one that appears meanwhile leads out of the target.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import os
import secrets
import stat
import tarfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import Refused, printable

#: What an archive that is not one, or is not whole, raises while it is read.
BROKEN = (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, OverflowError, RecursionError, MemoryError)
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Bytes of all names in an archive, which its readers keep, and of all that describes one member: tarfile reads that
#: as a whole, whatever size it says it has.
NAMES, DESCRIPTION = 128 << 20, 1 << 20


@dataclass(frozen=True)
class Limits:
    """What one archive may hold."""

    size: int
    """Bytes of all files together, and of all else that the archive says."""
    members: int = 10_000
    depth: int = 32
    """Components of a name."""
    seconds: float = 10.0
    """How long it may take to unpack."""


#: Of data sets: the largest is a few ten MB, which a slow card unpacks in this time.
DATASET = Limits(size=1 << 30, members=1000, seconds=300)


class _Bounded:
    """The uncompressed archive, which ends with Refused beyond a limit of bytes or of time."""

    def __init__(self, source: Any, limits: Limits) -> None:
        self.source, self.limits = source, limits
        # A member has a head of 512 bytes and is filled up to 512; names and times may need 2 KiB more.
        self.left = limits.size + limits.members * 4096 + (64 << 10)
        self.until = time.monotonic() + limits.seconds
        #: Bytes that may be read before the next member is known.
        self.head = DESCRIPTION

    def read(self, size: int) -> bytes:
        """The next bytes."""
        if time.monotonic() > self.until:
            raise Refused(f"takes more than {self.limits.seconds:g} s to unpack")
        content = self.source.read(min(size, self.left + 1))
        self.left -= len(content)
        self.head -= len(content)
        if self.head < 0:
            raise Refused(f"holds a member whose description has more than {DESCRIPTION:,} bytes")
        if self.left < 0:
            raise Refused(f"unpacks to more than {self.limits.size:,} bytes")
        return content


class Content:
    """What a regular file of an archive holds; to be read before the next member is asked for."""

    def __init__(self, source: IO[bytes]) -> None:
        self.source = source

    def read(self, size: int = -1) -> bytes:
        """The next bytes. Raises Refused where the archive is broken."""
        try:
            return self.source.read(size)
        except BROKEN as error:
            raise broken(error) from error


def broken(error: BaseException) -> Refused:
    """What to raise for an error of those that parse an archive."""
    return Refused(f"cannot be read to its end: {printable(error or type(error).__name__, 200)}")


@dataclass(frozen=True)
class Member:
    """One validated member of an archive."""

    info: tarfile.TarInfo
    parts: tuple[str, ...]
    """The components of its name."""
    content: Content | None
    """Of a regular file."""


def members(source: IO[bytes], limits: Limits, links: bool = False) -> Iterator[Member]:
    """The members of a gzip-compressed tar in their order. Raises Refused for an archive that must not be used."""
    try:
        with gzip.GzipFile(fileobj=source, mode="rb") as plain:
            bounded: Any = _Bounded(plain, limits)
            with tarfile.open(fileobj=bounded, mode="r|") as tar:
                size = count = names = 0
                while info := tar.next():
                    tar.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                    size, count = size + max(info.size, 0), count + 1
                    if count > limits.members:
                        raise Refused(f"holds more than {limits.members:,} members")
                    if size > limits.size:
                        raise Refused(f"holds {printable(repr(info.name))}: more than {limits.size:,} bytes in all")
                    names += len(os.fsencode(info.name))
                    if names > NAMES:
                        raise Refused(f"holds names of more than {NAMES >> 20} MiB")
                    parts = _parts(info, limits, links)
                    content = tar.extractfile(info) if info.isreg() else None
                    bounded.head = limits.size + limits.members * 4096
                    yield Member(info, parts, Content(content) if content else None)
                    # What was not read of it is skipped.
                    bounded.head = max(info.size, 0) + DESCRIPTION
    except BROKEN as error:
        raise broken(error) from error


def _parts(info: tarfile.TarInfo, limits: Limits, links: bool) -> tuple[str, ...]:
    """The components of a member's name. Raises Refused for a member that is not unpacked."""
    shown = printable(repr(info.name))
    parts = tuple(part for part in info.name.split("/") if part not in ("", "."))
    if info.name.startswith("/") or ".." in parts or not parts or "\0" in info.name:
        raise Refused(f"holds {shown}, which leads elsewhere")
    if len(parts) > limits.depth or any(len(os.fsencode(part)) > 255 for part in parts):
        raise Refused(f"holds {shown}, whose name is too long")
    kinds = "file or folder" if not links else "file, folder or symbolic link"
    if not (info.isreg() or info.isdir() or (links and info.issym())) or info.sparse is not None:
        raise Refused(f"holds {shown}, not a {kinds}")
    return parts


@dataclass(frozen=True)
class Entry:
    """What a file or folder gets beside its content."""

    mode: int
    owner: tuple[int, int] | None = None
    """uid and gid; None: those of who writes."""
    time: float | None = None
    """Seconds since 1970; None: now."""

    def apply(self, descriptor: int) -> None:
        """Give it to what is open."""
        if self.owner is not None:
            os.fchown(descriptor, *self.owner)
        os.fchmod(descriptor, self.mode)
        if self.time is not None:
            os.utime(descriptor, (self.time, self.time))


class Target:
    """A folder that is written into, held by a descriptor; close() ends it."""

    def __init__(self, path: Path, folder: int | None = None) -> None:
        """The folder at `path`, which is no link; with `folder` its last component in that open folder."""
        self.path = path
        self.descriptor = os.open(path if folder is None else path.name, FOLDER, dir_fd=folder)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.descriptor)

    @contextlib.contextmanager
    def folder(self, parts: tuple[str, ...]) -> Iterator[int]:
        """A descriptor of a folder below. Raises Refused for a link on the way."""
        descriptor = os.dup(self.descriptor)
        try:
            for part in parts:
                try:
                    below = os.open(part, FOLDER, dir_fd=descriptor)
                except OSError as error:
                    if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                        raise
                    raise Refused(f"{printable(self.path.joinpath(*parts))}: leads over a link or a file") from None
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def file(self, parts: tuple[str, ...], entry: Entry) -> Iterator[IO[bytes]]:
        """A file to write; it appears under its name as a whole, in place of a file or link that was there."""
        *folders, name = parts
        temporary = f".{secrets.token_hex(8)}.part"
        with self.folder(tuple(folders)) as folder:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=folder), "wb") as file:
                    yield file
                    file.flush()
                    entry.apply(file.fileno())
                    os.fsync(file.fileno())
                try:
                    os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
                except IsADirectoryError:
                    raise Refused(f"{printable(self.path.joinpath(*parts))}: is a folder, not a file") from None
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise

    def make_folder(self, parts: tuple[str, ...], entry: Entry) -> None:
        """A folder, made if it is missing; a link or file of its name is removed first."""
        *folders, name = parts
        with self.folder(tuple(folders)) as folder:
            try:
                if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                    os.unlink(name, dir_fd=folder)
            except FileNotFoundError:
                pass
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=folder)
        self.set(parts, entry)

    def set(self, parts: tuple[str, ...], entry: Entry) -> None:
        """Owner, mode and time of a folder."""
        with self.folder(parts) as folder:
            entry.apply(folder)

    def make_link(self, parts: tuple[str, ...], to: str, owner: tuple[int, int]) -> None:
        """A symbolic link, which is never followed here. Raises FileExistsError."""
        *folders, name = parts
        with self.folder(tuple(folders)) as folder:
            os.symlink(to, name, dir_fd=folder)
            os.chown(name, *owner, dir_fd=folder, follow_symlinks=False)


def copy(source: Content, target: IO[bytes] | None = None) -> str:
    """All that is left of `source` into `target`, where there is one; its SHA-256. Raises Refused, OSError."""
    found = hashlib.sha256()
    while block := source.read(1 << 20):
        found.update(block)
        if target is not None:
            target.write(block)
    return found.hexdigest()


def unpack(source: IO[bytes], path: Path, limits: Limits, owner: tuple[int, int] | None = None) -> list[str]:
    """Unpack files and folders below `path`, which must exist; names of the files. Raises Refused, OSError.

    Files become 0644 and folders 0755, whatever the archive says, and belong to `owner` (uid, gid) where that is given.
    A file that is there is replaced. What was unpacked before a member is refused stays: use a `path` of its own.
    """
    written = []
    with contextlib.closing(Target(path)) as target:
        for member in members(source, limits):
            folders = member.parts if member.content is None else member.parts[:-1]
            for depth in range(len(folders)):
                target.make_folder(folders[: depth + 1], Entry(0o755, owner))
            if member.content is not None:
                with target.file(member.parts, Entry(0o644, owner)) as file:
                    copy(member.content, file)
                written.append("/".join(member.parts))
    return written
