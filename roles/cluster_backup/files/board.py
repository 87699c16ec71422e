"""Sent to a board over ssh and run there as root: streams a tar to standard output, or takes one from standard input.

Nothing but Python's standard library. Words for a person go to standard error. Exit status 3: a file would not keep
still, trying again may help.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

# Last member of every tar: the digest of each file as it was read here.
SUMS = "SHA256SUMS"
# Files up to this size (bytes) are read whole before they are sent, so that one which changes meanwhile is read again.
WHOLE = 64 << 20
PASSWORD = Path("/etc/rancher/node/password")
# Below the export: what a restore is putting in place, and what one has put aside. Neither belongs to the data.
STAGING, ASIDE = ".restore-", ".before-restore-"


class Torn(Exception):
    """A file that changed while it was read, each time."""


class Refused(Exception):
    """Something that must not be done, with the reason."""


def not_data(name: str) -> bool:
    """Whether an entry at the top of the export is none of the books."""
    return name == "lost+found" or name.startswith((STAGING, ASIDE))


class Packer:
    """Writes a tar in one stream."""

    def __init__(self, target: IO[bytes]) -> None:
        # Closed by close(); a stream that was cut off shall not get an end.
        self.tar = tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self.sums: list[str] = []

    def info(self, name: str, status: os.stat_result) -> tarfile.TarInfo:
        """Head of a member; a hard link is a file of its own."""
        info = tarfile.TarInfo(name)
        info.mode, info.uid, info.gid = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
        info.mtime = status.st_mtime_ns / 1e9
        return info

    def tree(self, root: Path, name: str, skip: set[str]) -> None:
        """A directory with all that is in it but the entries at its top named in `skip`."""
        self.add(root, name)
        for entry in sorted(os.scandir(root), key=lambda each: each.name):
            if entry.name in skip:
                continue
            if entry.is_dir(follow_symlinks=False):
                self.tree(Path(entry.path), f"{name}/{entry.name}", set())
            # A client's NFS keeps a deleted file that is still open under such a name.
            elif not entry.name.startswith(".nfs"):
                self.add(Path(entry.path), f"{name}/{entry.name}")

    def add(self, path: Path, name: str) -> None:
        """One entry; what has vanished since it was listed, sockets and devices are passed over."""
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            info = self.info(name, status)
            if stat.S_ISDIR(status.st_mode):
                info.type = tarfile.DIRTYPE
                self.tar.addfile(info)
            elif stat.S_ISLNK(status.st_mode):
                info.type, info.linkname = tarfile.SYMTYPE, str(path.readlink())
                self.tar.addfile(info)
            elif stat.S_ISREG(status.st_mode):
                self.file(path, info)

    def file(self, path: Path, info: tarfile.TarInfo) -> None:
        """A regular file, all of it from one moment. Raises Torn."""
        for _ in range(5):
            with path.open("rb") as source:
                before = os.fstat(source.fileno())
                info.size, info.mtime = before.st_size, before.st_mtime_ns / 1e9
                if before.st_size > WHOLE:
                    return self.long(path, source, before, info)
                content = source.read()
                if still(before, os.fstat(source.fileno())) and len(content) == before.st_size:
                    return self.bytes(info, content)
            time.sleep(0.3)
        raise Torn(str(path))

    def long(self, path: Path, source: IO[bytes], before: os.stat_result, info: tarfile.TarInfo) -> None:
        """A file too long for memory: its head is sent first, so one that changes spoils the stream."""
        reader = Digesting(source)
        try:
            self.tar.addfile(info, reader)
        except OSError as error:
            raise Torn(f"{path} ({error})") from error
        if not still(before, os.fstat(source.fileno())):
            raise Torn(str(path))
        self.sums.append(f"{reader.sum.hexdigest()}  {info.name}\n")

    def bytes(self, info: tarfile.TarInfo, content: bytes) -> None:
        """A member from memory."""
        info.size = len(content)
        self.tar.addfile(info, io.BytesIO(content))
        self.sums.append(f"{hashlib.sha256(content).hexdigest()}  {info.name}\n")

    def close(self) -> None:
        """Digests, and the end of the tar."""
        info = tarfile.TarInfo(SUMS)
        content = "".join(self.sums).encode()
        info.size = len(content)
        self.tar.addfile(info, io.BytesIO(content))
        self.tar.close()


class Digesting(io.RawIOBase):
    """Reads from a file and digests on the way."""

    def __init__(self, source: IO[bytes]) -> None:
        self.source, self.sum = source, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        content = self.source.read(size)
        self.sum.update(content)
        return content


def still(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether nobody wrote into a file between two looks at it; one that was replaced by another is not touched."""
    return (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def copy_sqlite(source: Path, target: Path) -> None:
    """One moment of a database that is being written to, its journal included, by SQLite's own means.

    One step for all pages: a single read transaction, which in WAL mode keeps no writer waiting.
    """
    with (
        contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=60)) as live,
        contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        live.backup(copy, pages=-1)
        # As one file; kine puts it back into WAL mode.
        copy.execute("PRAGMA journal_mode=DELETE")
        found = [row[0] for row in copy.execute("PRAGMA quick_check")]
    if found != ["ok"]:
        raise Refused(f"the datastore {source} is damaged: {'; '.join(found[:3])}. It is not worth a backup")


@contextlib.contextmanager
def scratch(data: Path) -> Iterator[Path]:
    """A private directory on the card, for the datastore's copy; those of killed runs go too."""
    for old in data.glob("backup-*"):
        shutil.rmtree(old)
    with tempfile.TemporaryDirectory(prefix="backup-", dir=data) as name:
        yield Path(name)


def send_server(options: argparse.Namespace) -> None:
    """server/ without the live datastore, the datastore's copy, and this node's password."""
    data = Path(options.data_dir)
    packer = Packer(sys.stdout.buffer)
    with scratch(data) as temporary:
        packer.tree(data / "server", "server", {"db"})
        # Last: what the datastore refers to is never younger than the datastore.
        if options.datastore == "sqlite":
            packer.add(data / "server/db", "server/db")
            copy = temporary / "state.db"
            copy_sqlite(data / "server/db/state.db", copy)
            packer.add(copy, "server/db/state.db")
        else:
            name = temporary.name
            argv = [options.k3s, "etcd-snapshot", "save", "--name", name, "--etcd-snapshot-compress=false"]
            argv += ["--etcd-snapshot-dir", str(temporary), "--data-dir", str(data)]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=options.timeout, check=False)
            found = [each for each in temporary.iterdir() if each.name.startswith(name)]
            if done.returncode or not found:
                raise Refused(f"{' '.join(argv[:3])} failed: {(done.stderr or done.stdout).strip()[-800:]}")
            packer.add(found[0], "etcd-snapshot")
        packer.add(PASSWORD, "node-password")
    packer.close()


def send_data(options: argparse.Namespace) -> None:
    """The export."""
    root = Path(options.export)
    packer = Packer(sys.stdout.buffer)
    packer.tree(root, "data", {each.name for each in root.iterdir() if not_data(each.name)})
    packer.close()


def unpack(target: Path, top: str) -> dict[str, bytes]:
    """Standard input below `target`, members named `top`/...; others are returned. Raises Refused.

    Written by hand: tarfile's own protection against hostile names came after Debian 12's Python.
    """
    sums: dict[str, str] = {}
    kept: dict[str, bytes] = {}
    times: list[tuple[Path, float]] = []
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|gz") as tar:
        for info in tar:
            parts = Path(info.name).parts
            if info.name.startswith("/") or ".." in parts:
                raise Refused(f"the archive holds {info.name!r}, which leads elsewhere")
            if parts[0] != top:
                source = tar.extractfile(info)
                kept[info.name] = source.read() if source else b""
                sums[info.name] = hashlib.sha256(kept[info.name]).hexdigest()
                continue
            path = target.joinpath(*parts[1:])
            if path.parent != target and path.parent.is_symlink():
                raise Refused(f"the archive writes through the link {path.parent}")
            if info.isdir():
                path.mkdir(mode=0o700, exist_ok=True)
            elif info.issym():
                path.symlink_to(info.linkname)
            elif info.isreg():
                source = tar.extractfile(info)
                assert source
                reader = Digesting(source)
                with path.open("xb") as output:
                    shutil.copyfileobj(reader, output, 1 << 20)
                    os.fsync(output.fileno())
                sums[info.name] = reader.sum.hexdigest()
            else:
                raise Refused(f"the archive holds {info.name!r}, which is neither file, directory nor link")
            os.chown(path, info.uid, info.gid, follow_symlinks=False)
            if not info.issym():
                path.chmod(info.mode)
                times.append((path, float(info.mtime)))
    expected = dict(line.split("  ", 1)[::-1] for line in kept.pop(SUMS, b"").decode().splitlines())
    sums.pop(SUMS, None)
    if expected != sums:
        raise Refused("what arrived is not what was backed up: digests differ")
    # k3s compares times of its files with those in the datastore. Directories last: what they hold is there now.
    for path, moment in reversed(times):
        os.utime(path, (moment, moment))
    return kept


def public(directory: Path) -> None:
    """A directory that everybody may enter, with its parents, as k3s makes them; those that exist stay as they are."""
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
    """server/ and the node's password; an existing server/ is put aside. k3s must be stopped."""
    data = Path(options.data_dir)
    target, staging = data / "server", data / "server.restoring"
    public(data)
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(mode=0o700)
    kept = unpack(staging, "server")
    if snapshot := kept.get("etcd-snapshot"):
        (staging / "db").mkdir(mode=0o700, exist_ok=True)
        path = staging / "db/restored-snapshot"
        path.touch(mode=0o600)
        path.write_bytes(snapshot)
    (staging / ".restored-from").write_text(options.marker + "\n")
    if password := kept.get("node-password"):
        public(PASSWORD.parent)
        PASSWORD.touch(mode=0o600)
        PASSWORD.write_bytes(password)
    if target.exists():
        if not options.replace:
            raise Refused(f"{target} exists: a server that has a cluster is not overwritten")
        target.rename(data / f"server.before-restore-{options.stamp}")
    # The last step: until now nothing that k3s reads has changed but the password that belongs to this datastore.
    staging.rename(target)
    sync(data)
    os.sync()


def take_data(options: argparse.Namespace) -> None:
    """The export's entries; those that are there already are put aside."""
    root = Path(options.export)
    part, whole = root / f"{STAGING}part", root / f"{STAGING}{options.stamp}"
    if not whole.exists():
        if not options.replace and any(not not_data(each.name) for each in root.iterdir()):
            raise Refused(f"{root} is not empty")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700)
        unpack(part, "data")
        part.rename(whole)
        sync(root)
    settle(root, whole, root / f"{ASIDE}{options.stamp}")
    os.sync()


def settle(root: Path, whole: Path, aside: Path) -> None:
    """Everything out of `whole` to where it belongs, one rename each: a run that was killed is gone on with."""
    for entry in sorted(each.name for each in whole.iterdir()):
        if (root / entry).exists() or (root / entry).is_symlink():
            aside.mkdir(mode=0o700, exist_ok=True)
            (root / entry).rename(aside / entry)
        (whole / entry).rename(root / entry)
    whole.rmdir()


COMMANDS = {"send-server": send_server, "send-data": send_data, "take-server": take_server, "take-data": take_data}


def main() -> int:
    """Run the command that the arguments name."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=COMMANDS)
    for name in ("data-dir", "datastore", "export", "k3s", "marker", "stamp"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--timeout", type=float, default=300.0)
    parser.add_argument("--replace", action="store_true")
    options = parser.parse_args()
    os.umask(0o077)
    try:
        COMMANDS[options.command](options)
    except Torn as error:
        print(f"{error} was written to, again and again, while it was read", file=sys.stderr)
        return 3
    except BrokenPipeError:
        return 1
    except (Refused, OSError, EOFError, sqlite3.Error, tarfile.TarError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
