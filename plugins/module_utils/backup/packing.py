"""A tar of files that others write meanwhile, in one stream; what cannot be part of a backup is left out and reported.

Runs on boards too: the standard library, and the two modules imported here.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import itertools
import json
import os
import re
import stat
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from ansible_collections.edge_ai.cluster.plugins.module_utils.archives import FOLDER, NAMES, Content, Target
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import Refused, open_regular, printable

# Last member of every tar: the digest of each file as it was read here, and what was left out (JSON).
SUMS = "SHA256SUMS.json"
# Files up to this size (bytes) are read whole before they are sent, so that one which changes meanwhile is read again.
WHOLE = 64 << 20
# Entries of an export, and folders in one another; and the longest archive that is unpacked (bytes).
MOST, DEPTH, ARCHIVE = 1_000_000, 64, 1 << 40
# The longest last member of an archive (bytes): each name with a digest.
LISTING = 512 << 20
# How that member is written, by json.dumps: its beginning, and the entry of a file, which has this many bytes at most.
BEGIN, LAST = re.compile(rb'{\s*"sha256"\s*:\s*{'), re.compile(rb"\s*}")
ENTRY = re.compile(rb'\s*("[^"\\]*(?:\\.[^"\\]*)*")\s*:\s*"([0-9a-f]{64})"\s*(?:,|(?=}))')
LONGEST = 256 << 10
# Bytes of all that follows the entries: what was left out.
REST = 1 << 20
# Of an export: bytes that files may take in a backup beyond what they take there, as holes do and further names of a
# file (hard links); how often, in all, it is waited for one that changes; and how much of what is left out is named.
BEYOND, PATIENCE, NAMED = 1 << 30, 200, 100


class Torn(Exception):
    """A file that changed while it was read, each time."""


class Packer:
    """Writes a tar in one stream."""

    def __init__(self, target: IO[bytes], limit: int = ARCHIVE, shared: bool = False) -> None:
        """`limit`: bytes of all files together; what is beyond is left out.

        `shared`: what is read is written by others meanwhile, and nothing of theirs may end the backup: a file that
        cannot be read, that changes each time, or that takes more room in a backup than where it is, is left out.
        """
        # Closed by close(); an interrupted stream must not get an end.
        self.tar = tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self.sums: dict[str, str] = {}
        self.left_out: list[str] = []
        self.left, self.shared = limit, shared
        # One for the folder itself, one for SUMS.
        self.entries, self.names = MOST - 2, NAMES
        self.beyond, self.patience = BEYOND, PATIENCE
        self.linked: set[tuple[int, int]] = set()

    def info(self, name: str, status: os.stat_result) -> tarfile.TarInfo:
        """Head of a member; a hard link is a file of its own."""
        info = tarfile.TarInfo(name)
        info.mode, info.uid, info.gid = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
        info.mtime = status.st_mtime_ns / 1e9
        return info

    def leave_out(self, name: str, reason: str) -> None:
        """Something is not packed. Raises Refused where nothing may be missing."""
        if not self.shared:
            raise Refused(f"{printable(name)}: {reason}")
        self.left_out.append(f"{printable(name)}: {reason}" if len(self.left_out) < NAMED else "")

    def unreadable(self, name: str, error: OSError) -> None:
        """Something cannot be read. Raises the error where nothing may be missing."""
        if not self.shared:
            raise error
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            self.leave_out(name, "became a link while it was read")
        elif isinstance(error, PermissionError):
            self.leave_out(name, "the owner of the export may not read it")
        else:
            self.leave_out(name, f"cannot be read ({error.strerror})")

    def reported(self) -> list[str]:
        """What was left out: the first of it by name."""
        more = len(self.left_out) - NAMED
        return self.left_out[:NAMED] + ([f"and {more:,} more"] if more > 0 else [])

    def path(self, path: Path, name: str) -> None:
        """One entry, by its path; none where there is no such folder."""
        with contextlib.suppress(FileNotFoundError), contextlib.closing(Target(path.parent)) as folder:
            self.entry(folder.descriptor, path.name, name)

    def tree(self, folder: int, name: str, skip: Callable[[str], bool] = lambda name: False) -> None:
        """An open folder with all that is in it but the entries at its top whose names are to be skipped."""
        info = self.info(name, os.fstat(folder))
        info.type = tarfile.DIRTYPE
        self.tar.addfile(info)
        try:
            with os.scandir(folder) as entries:
                wanted = (each.name for each in entries if not skip(each.name))
                found = sorted(itertools.islice(wanted, self.entries + 1))
        except OSError as error:
            self.unreadable(name, error)
            return
        if len(found) > self.entries:
            self.leave_out(name, f"more than {MOST:,} files in all; remove what is not needed")
            return
        self.entries -= len(found)
        for each in found:
            self.entry(folder, each, f"{name}/{each}")

    def entry(self, folder: int, entry: str, name: str) -> None:
        """One entry of an open folder. What has vanished since it was listed, sockets and devices are skipped."""
        self.names -= len(os.fsencode(name))
        if self.names < 0:
            self.leave_out(name, f"the names of all files have more than {NAMES >> 20} MiB")
            return
        below, link = -1, ""
        try:
            status = os.stat(entry, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                below = os.open(entry, FOLDER, dir_fd=folder)
            elif stat.S_ISLNK(status.st_mode):
                link = os.readlink(entry, dir_fd=folder)
        except FileNotFoundError:
            return
        except OSError as error:
            self.unreadable(name, error)
            return
        if below >= 0:
            try:
                if name.count("/") > DEPTH:
                    self.leave_out(name, f"more than {DEPTH} folders in one another")
                else:
                    self.tree(below, name)
            finally:
                os.close(below)
        elif link:
            info = self.info(name, status)
            info.type, info.linkname = tarfile.SYMTYPE, link
            self.tar.addfile(info)
        # A client's NFS keeps a deleted file that is still open under a name that begins with .nfs.
        elif stat.S_ISREG(status.st_mode) and not entry.startswith(".nfs"):
            self.file(folder, entry, name)

    def file(self, folder: int, entry: str, name: str) -> None:
        """A regular file, all of it from one moment. Raises Torn."""
        for _ in range(5 if self.patience > 0 else 1):
            try:
                descriptor = open_regular(entry, folder)
            except FileNotFoundError:
                return
            except OSError as error:
                self.unreadable(name, error)
                return
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                os.close(descriptor)
                self.leave_out(name, "became a special file while it was read")
                return
            with os.fdopen(descriptor, "rb") as source:
                beyond = self.more_than_there(descriptor, before)
                if before.st_size > self.left or beyond > self.beyond:
                    why = "more than a backup may still hold" if before.st_size > self.left else "with holes or links"
                    self.leave_out(name, f"{before.st_size:,} bytes, {why}")
                    return
                info = self.info(name, before)
                info.size = before.st_size
                if before.st_size > WHOLE:
                    self.long(source, before, info)
                else:
                    try:
                        content = source.read(before.st_size + 1)
                    except OSError as error:
                        self.unreadable(name, error)
                        return
                    if not still(before, os.fstat(descriptor)) or len(content) != before.st_size:
                        self.patience -= 1
                        time.sleep(0.3)
                        continue
                    self.bytes(info, content)
                self.beyond -= beyond
                return
        if not self.shared:
            raise Torn(printable(name))
        self.leave_out(name, "changed each time that it was read")

    def more_than_there(self, descriptor: int, status: os.stat_result) -> int:
        """Bytes that a shared file takes in a backup beyond those that it takes where it is."""
        if not self.shared:
            return 0
        if status.st_nlink > 1:
            known = (status.st_dev, status.st_ino)
            if known in self.linked:
                return status.st_size
            self.linked.add(known)
        # File systems that compress have fewer blocks, too, but no hole.
        try:
            hole = os.lseek(descriptor, 0, os.SEEK_HOLE)
        except OSError:  # an empty file
            return 0
        os.lseek(descriptor, 0, os.SEEK_SET)
        return max(0, status.st_size - status.st_blocks * 512) if hole < status.st_size else 0

    def long(self, source: IO[bytes], before: os.stat_result, info: tarfile.TarInfo) -> None:
        """A file too long for memory: its head is sent first, so one that changes spoils the stream, or itself."""
        reader = Digesting(source, fill=self.shared)
        try:
            self.tar.addfile(info, reader)
        except OSError as error:
            raise Torn(f"{printable(info.name)} ({error})") from error
        if not still(before, os.fstat(source.fileno())) or reader.filled:
            if not self.shared:
                raise Torn(printable(info.name))
            self.leave_out(info.name, "parts of it, because it changed while it was read")
        self.left -= info.size
        self.sums[info.name] = reader.sum.hexdigest()

    def bytes(self, info: tarfile.TarInfo, content: bytes) -> None:
        """A member from memory."""
        self.tar.addfile(info, io.BytesIO(content))
        self.left -= info.size
        self.sums[info.name] = hashlib.sha256(content).hexdigest()

    def close(self) -> None:
        """Digests, and the end of the tar."""
        info = tarfile.TarInfo(SUMS)
        # As ASCII with escapes: a file's name may hold anything but a slash and a zero.
        content = json.dumps({"sha256": self.sums, "left_out": self.reported()}).encode()
        info.size = len(content)
        self.tar.addfile(info, io.BytesIO(content))
        self.tar.close()


def compare(source: Content, sums: dict[str, str]) -> tuple[str | None, list[Any]]:
    """Compare the digests of an archive's files, in their order there, with its last member, which is `source`.

    The name of the first file that differs, None for none, and what the member says was left out. Whoever made the
    archive may write anything there: no more than one entry of it is in memory. Raises ValueError for what is no such
    member.
    """
    text, at = b"", 0

    def take(*patterns: re.Pattern[bytes]) -> re.Match[bytes]:
        nonlocal text, at
        while True:
            for pattern in patterns:
                if found := pattern.match(text, at):
                    at = found.end()
                    return found
            block = source.read(1 << 16)
            if not block or len(text) - at > LONGEST:
                raise ValueError("no entry of a file")
            text, at = text[at:] + block, 0

    take(BEGIN)
    own = iter(sums.items())
    differs: str | None = None
    while (found := take(ENTRY, LAST)).re is ENTRY:
        if differs is not None:
            continue
        name, digest = json.loads(found[1]), found[2].decode()
        there = next(own, None)
        if there != (name, digest):
            differs = name if there is None or sums.get(name) != digest else there[0]
    if differs is None:
        differs = next(own, (None, ""))[0]
    while len(text) - at <= REST and (block := source.read(1 << 16)):
        text += block
    if len(text) - at > REST:
        raise ValueError(f"more than {REST:,} bytes of what was left out")
    try:
        rest = json.loads(b"{" + text[at:].lstrip().removeprefix(b","))
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    return differs, rest.get("left_out", [])


class Digesting(io.RawIOBase):
    """Reads from a file and digests on the way; with `fill`, zeros come where it became shorter or unreadable."""

    def __init__(self, source: IO[bytes], fill: bool) -> None:
        self.source, self.sum, self.fill, self.filled = source, hashlib.sha256(), fill, False

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        try:
            content = self.source.read(size)
        except OSError:
            if not self.fill:
                raise
            content = b""
        if self.fill and len(content) < size:
            self.filled = True
            content += bytes(size - len(content))
        self.sum.update(content)
        return content


def still(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether nothing was written into a file between two calls of stat."""
    return (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
