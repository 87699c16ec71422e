"""Sent to a board over ssh and run there as root: streams a tar to standard output, or takes one from standard input.

Nothing but Python's standard library and the three modules imported here, which are sent with it. Messages go to
standard error. Exit status 3: a file changed each time that it was read; trying again may help.

The export is written by notebooks. It is read with the rights of its owner, and written by descriptors without
following a link.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.edge_ai.cluster.plugins.module_utils.archives import Entry, Limits, Target, copy, members
from ansible_collections.edge_ai.cluster.plugins.module_utils.backup.packing import (
    ARCHIVE,
    DEPTH,
    LISTING,
    MOST,
    SUMS,
    Packer,
    Torn,
    compare,
)
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import Refused, as_owner, printable

PASSWORD = Path("/etc/rancher/node/password")
# The database of the overlay hub, below k3s's data directory, and the user and group of its pod.
HUB, HUB_OWNER = Path("edge-ai-hub/jupyterhub.sqlite"), 10001
# Members of a server's archive that do not lie below server/.
BESIDE = ("etcd-snapshot", "node-password", "hub-database", SUMS)
# The name of a backup, by when it was made.
STAMP = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
# Below the export: what a restore is putting in place, and what one has moved away. Neither belongs to the data.
STAGING, ASIDE = ".restore-", ".before-restore-"
# In an empty export from before it is filled until pods were stopped: they have mounted the file system that was lost.
RESTART = f"{STAGING}pods"


def not_data(name: str) -> bool:
    """Whether an entry at the top of the export is no shared data."""
    return name == "lost+found" or name.startswith((STAGING, ASIDE))


def is_aside(name: str) -> bool:
    """Whether a restore has moved this away: data, or the server's directory."""
    before, aside, stamp = name.partition(ASIDE)
    return before in ("", "server") and bool(aside and STAMP.fullmatch(stamp))


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
        raise Refused("the archive has no list of digests at its end: it is incomplete")
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
        target.rename(data / f"server{ASIDE}{options.stamp}")
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
