"""Sent to a board over ssh and run there as root: streams a tar to standard output, or takes one from standard input.

Nothing but Python's standard library and the two modules imported here, which are sent with it. Messages go to standard
error. Exit status 3: a file changed each time that it was read; trying again may help.

The export is written by notebooks. It is read with the rights of its owner, and written by descriptors without
following a link; what cannot be part of a backup is left out and reported.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from ansible_collections.edge_ai.cluster.plugins.module_utils.archives import (
    FOLDER,
    NAMES,
    Content,
    Entry,
    Limits,
    Target,
    copy,
    members,
)
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import (
    Refused,
    as_owner,
    open_regular,
    printable,
)

# Last member of every tar: the digest of each file as it was read here, and what was left out (JSON).
SUMS = "SHA256SUMS.json"
# Files up to this size (bytes) are read whole before they are sent, so that one which changes meanwhile is read again.
WHOLE = 64 << 20
PASSWORD = Path("/etc/rancher/node/password")
# The database of the overlay hub, below k3s's data directory, and the user and group of its pod.
HUB, HUB_OWNER = Path("edge-ai-hub/jupyterhub.sqlite"), 10001
# Members of a server's archive that do not lie below server/.
BESIDE = ("etcd-snapshot", "node-password", "hub-database", SUMS)
# Below the export: what a restore is putting in place, and what one has moved away. Neither belongs to the data.
STAGING, ASIDE = ".restore-", ".before-restore-"
# In an empty export from before it is filled until pods were stopped: they have mounted the file system that was lost.
RESTART = f"{STAGING}pods"
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


def not_data(name: str) -> bool:
    """Whether an entry at the top of the export is no shared data."""
    return name == "lost+found" or name.startswith((STAGING, ASIDE))


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

    def __init__(self, source: IO[bytes], fill: bool = False) -> None:
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


def copy_sqlite(source: Path, target: Path) -> None:
    """One moment of a database that is being written to, its journal included, by SQLite's own means.

    One step for all pages: a single read transaction, which in WAL mode keeps no writer waiting.
    """
    with (
        contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=60)) as live,
        contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copied,
    ):
        live.backup(copied, pages=-1)
        # As one file; kine puts it back into WAL mode.
        copied.execute("PRAGMA journal_mode=DELETE")
        found = [row[0] for row in copied.execute("PRAGMA quick_check")]
    if found != ["ok"]:
        raise Refused(f"the datastore {source} is damaged: {'; '.join(found[:3])}. It was not backed up")


@contextlib.contextmanager
def scratch(data: Path) -> Iterator[Path]:
    """A private directory on the card, for the datastore's copy; those of killed runs go too."""
    for old in data.glob("backup-*"):
        shutil.rmtree(old)
    with tempfile.TemporaryDirectory(prefix="backup-", dir=data) as name:
        yield Path(name)


def send_server(options: argparse.Namespace) -> None:
    """server/ without live datastore and audit log, the datastore's copy, this node's password, the hub's database."""
    data = Path(options.data_dir)
    packer = Packer(sys.stdout.buffer)
    with scratch(data) as temporary:
        server = Target(data / "server")
        packer.tree(server.descriptor, "server", {"db", "logs"}.__contains__)
        server.close()
        # Last: what the datastore refers to is never younger than the datastore.
        if options.datastore == "sqlite":
            database = data / "server/db"
            info = packer.info("server/db", database.stat())
            info.type = tarfile.DIRTYPE
            packer.tar.addfile(info)
            copied = temporary / "state.db"
            copy_sqlite(database / "state.db", copied)
            packer.path(copied, "server/db/state.db")
        else:
            name = temporary.name
            argv = [options.k3s, "etcd-snapshot", "save", "--name", name, "--etcd-snapshot-compress=false"]
            argv += ["--etcd-snapshot-dir", str(temporary), "--data-dir", str(data)]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=options.timeout, check=False)
            found = [each for each in temporary.iterdir() if each.name.startswith(name)]
            if done.returncode or not found:
                raise Refused(f"{' '.join(argv[:3])} failed: {(done.stderr or done.stdout).strip()[-800:]}")
            packer.path(found[0], "etcd-snapshot")
        packer.path(PASSWORD, "node-password")
        if (data / HUB).is_file() and not (data / HUB).is_symlink():
            copied = temporary / "hub.sqlite"
            copy_sqlite(data / HUB, copied)
            packer.path(copied, "hub-database")
    packer.close()


def send_data(options: argparse.Namespace) -> None:
    """The export, as its owner may read it."""
    export = Target(Path(options.export))
    packer = Packer(sys.stdout.buffer, options.limit, shared=True)
    with as_owner(export.path):
        packer.tree(export.descriptor, "data", not_data)
    packer.close()
    for each in packer.reported()[:20]:
        print(f"left out {each}", file=sys.stderr)


def unpack(target: Target, top: str, seconds: float, beside: Target | None = None) -> None:
    """Standard input below `target`, members named `top`/...; those of BESIDE to `beside`. Raises Refused."""
    sums: dict[str, str] = {}
    complete = False
    times: list[tuple[tuple[str, ...], Entry]] = []
    limits = Limits(ARCHIVE, MOST, DEPTH + 8, seconds)
    for member in members(sys.stdin.buffer, limits, links=True):
        info, below = member.info, member.parts[1:]
        if complete:
            raise Refused(f"the archive goes on after {SUMS}")
        if info.name == SUMS and member.content is not None and info.size <= LISTING:
            try:
                differs, _ = compare(member.content, sums)
            except ValueError:
                break
            if differs is not None:
                raise Refused(f"what arrived is not what was backed up: the digest of {printable(differs)} differs")
            complete = True
            continue
        if member.parts[0] != top:
            if beside is None or info.name not in BESIDE or info.name == SUMS or member.content is None:
                raise Refused(f"the archive holds {printable(repr(info.name))}, which is not a part of a backup")
            with beside.file(member.parts, Entry(0o600)) as output:
                sums[info.name] = copy(member.content, output)
            continue
        # Without setuid and setgid bits.
        entry = Entry(info.mode & 0o1777, (info.uid, info.gid), float(info.mtime))
        if not below:
            continue
        if member.content is not None:
            with target.file(below, entry) as output:
                sums[info.name] = copy(member.content, output)
        elif info.issym():
            target.make_link(below, info.linkname, (info.uid, info.gid))
        else:
            target.make_folder(below, entry)
            times.append((below, entry))
    if not complete:
        raise Refused(f"the archive has no {SUMS} at its end: it is incomplete")
    # k3s compares times of its files with those in the datastore. Directories last: what they hold is there now.
    for below, entry in reversed(times):
        target.set(below, entry)


def public(directory: Path) -> None:
    """A directory that all users may enter, with its parents, as k3s makes them; those that exist stay as they are."""
    for each in (*reversed(directory.parents), directory):
        if not each.exists():
            each.mkdir()
            each.chmod(0o755)


def sync(directory: Path) -> None:
    """The directory's entries are on the card."""
    descriptor = os.open(directory, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def take_server(options: argparse.Namespace) -> None:
    """server/ and the node's password; an existing server/ is moved away. k3s must be stopped."""
    data = Path(options.data_dir)
    target, staging = data / "server", data / "server.restoring"
    public(data)
    shutil.rmtree(staging, ignore_errors=True)
    server = staging / "server"
    server.mkdir(mode=0o700, parents=True)
    with contextlib.closing(Target(server)) as folder, contextlib.closing(Target(staging)) as beside:
        unpack(folder, "server", options.timeout, beside)
    snapshot, password, database = (staging / name for name in BESIDE if name != SUMS)
    if snapshot.exists():
        (server / "db").mkdir(mode=0o700, exist_ok=True)
        snapshot.rename(server / "db/restored-snapshot")
    (server / ".restored-from").write_text(options.marker + "\n")
    if password.exists():
        public(PASSWORD.parent)
        PASSWORD.touch(mode=0o600)
        shutil.copyfile(password, PASSWORD)
        password.unlink()
    if database.exists():
        take_hub(data / HUB, database)
    if target.exists():
        if not options.replace:
            raise Refused(f"{target} exists: a server that has a cluster is not overwritten")
        target.rename(data / f"server.before-restore-{options.stamp}")
    # The last step: until now nothing that k3s reads has changed but the password that belongs to this datastore.
    server.rename(target)
    staging.rmdir()
    sync(data)
    os.sync()


def take_hub(path: Path, database: Path) -> None:
    """The database of the hub, whose pod does not run; what it wrote beside an older one goes."""
    shutil.rmtree(path.parent, ignore_errors=True)
    path.parent.mkdir(mode=0o770)
    database.rename(path)
    for each in (path, path.parent):
        os.chown(each, HUB_OWNER, HUB_OWNER)
    path.chmod(0o660)
    # As the role manifests and the kubelet set it.
    path.parent.chmod(0o2770)


def names(folder: Target) -> list[str]:
    """Names of an open folder's entries, in order."""
    with os.scandir(folder.descriptor) as entries:
        return sorted(each.name for each in entries)


def present(folder: int, name: str) -> bool:
    """Whether an open folder has an entry of that name, also a link that leads nowhere."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def own(export: Target, name: str) -> Target:
    """A folder at the top of the export that was made here: one that others made is refused. Raises Refused."""
    try:
        folder = Target(export.path / name, export.descriptor)
    except NotADirectoryError:
        raise Refused(f"{export.path / name} is not a directory: remove it") from None
    status = os.fstat(folder.descriptor)
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        folder.close()
        raise Refused(f"{export.path / name} was not made by a restore: remove it")
    return folder


def take_data(options: argparse.Namespace) -> None:
    """The export's entries; those that are there already are moved away."""
    export = Target(Path(options.export))
    root, part, whole = export.descriptor, f"{STAGING}part", f"{STAGING}{options.stamp}"
    if not present(root, whole):
        with os.scandir(root) as entries:
            empty = all(not_data(each.name) for each in entries)
        if not options.replace and not empty:
            raise Refused(f"{export.path} is not empty")
        if empty and options.restart_pods:
            if not present(root, RESTART):
                os.mkdir(RESTART, 0o700, dir_fd=root)
            own(export, RESTART).close()
        if present(root, part):
            with contextlib.closing(own(export, part)):
                shutil.rmtree(part, dir_fd=root)
        os.mkdir(part, 0o700, dir_fd=root)
        with contextlib.closing(own(export, part)) as folder:
            unpack(folder, "data", options.timeout)
        os.rename(part, whole, src_dir_fd=root, dst_dir_fd=root)
        os.fsync(root)
    with contextlib.closing(own(export, whole)) as folder:
        settle(export, folder, f"{ASIDE}{options.stamp}")
    os.rmdir(whole, dir_fd=root)
    os.sync()


def settle(export: Target, whole: Target, aside: str) -> None:
    """Everything out of `whole` to where it belongs, one rename each: a run that was killed is continued."""
    root = export.descriptor
    for entry in names(whole):
        if present(root, entry):
            with contextlib.suppress(FileExistsError):
                os.mkdir(aside, 0o700, dir_fd=root)
            with contextlib.closing(own(export, aside)) as folder:
                os.rename(entry, entry, src_dir_fd=root, dst_dir_fd=folder.descriptor)
        os.rename(entry, entry, src_dir_fd=whole.descriptor, dst_dir_fd=root)


COMMANDS = {"send-server": send_server, "send-data": send_data, "take-server": take_server, "take-data": take_data}


def main(arguments: list[str] | None = None) -> int:
    """Run the command that the arguments name."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=COMMANDS)
    for name in ("data-dir", "datastore", "export", "k3s", "marker", "stamp"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--timeout", type=float, default=300.0)
    parser.add_argument("--limit", type=int, default=ARCHIVE)
    parser.add_argument("--replace", action="store_true")
    parser.add_argument("--restart-pods", action="store_true")
    options = parser.parse_args(arguments)
    os.umask(0o077)
    try:
        COMMANDS[options.command](options)
    except Torn as error:
        print(f"{error} changed each time that it was read", file=sys.stderr)
        return 3
    except BrokenPipeError:
        return 1
    except (Refused, OSError, EOFError, sqlite3.Error, tarfile.TarError, subprocess.TimeoutExpired) as error:
        print(printable(error, 1500), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
