"""A second place for backups: a directory such as that of a mounted disk, or one that is reached by sftp."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..files import sha256_of, sync
from ..shared_data import printable
from ..ssh import captured
from .generations import prune, surplus
from .seal import BackupError
from .stream import STAMP

#: Where sftp copies to: a host as ssh knows it, and a directory there.
REMOTE = (
    r"(?P<host>([A-Za-z0-9_][A-Za-z0-9._-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*):"
    # What begins with two is a URL, whose scheme would be the host.
    r"(?!//)(?P<path>[A-Za-z0-9._/-]+)"
)
_OPTIONS = {"BatchMode": "yes", "StrictHostKeyChecking": "yes", "ConnectTimeout": "20", "ServerAliveInterval": "15"}


def validate(place: str) -> None:
    """Raises BackupError for a place that cannot be used, or a directory that is not there."""
    if place.startswith(("/", "~")):
        if not Path(place).expanduser().is_dir():
            raise BackupError(f"cluster_backup_copy_to: {place} is not a directory: mount its disk, or create it")
    elif not re.fullmatch(REMOTE, place):
        raise BackupError(
            f"cluster_backup_copy_to: {place} is neither the full path of a directory nor user@host:directory (of "
            "letters, digits, and . _ / -)"
        )


def copy(backup: Path, place: str, cluster_name: str, keep: int, ssh_args: str, timeout: float) -> list[str]:
    """Copy a finished backup into the folder `cluster_name` of `place`; names of those that were removed there.

    The newest `keep` stay, all for 0. Raises BackupError, OSError.
    """
    validate(place)
    if place.startswith(("/", "~")):
        return _to_directory(backup, Path(place).expanduser() / cluster_name, cluster_name, keep)
    found = re.fullmatch(REMOTE, place)
    assert found
    host, folder = found["host"], f"{found['path'].rstrip('/') or ''}/{cluster_name}"
    listing = _sftp(host, [f"-mkdir {folder}", f"ls -1a {folder}"], ssh_args, timeout)
    names = {Path(line).name for line in listing.splitlines()}
    left = sorted(name for name in names if STAMP.fullmatch(name.removeprefix(".part-")) and name.startswith("."))
    part, whole = f"{folder}/.part-{backup.name}", f"{folder}/{backup.name}"
    commands = [command for name in left for command in _remove(f"{folder}/{name}")]
    commands += [f"mkdir {part}", f"chmod 700 {part}"]
    commands += [f'put -f "{path}" {part}/{path.name}' for path in sorted(backup.iterdir())]
    commands.append(f"rename {part} {whole}")
    old = surplus((name for name in names if STAMP.fullmatch(name)), backup.name, keep)
    for name in old:
        # First under a name that is no backup's: one that is half removed must not look like one.
        commands += [f"rename {folder}/{name} {folder}/.part-{name}", *_remove(f"{folder}/.part-{name}")]
    try:
        _sftp(host, commands, ssh_args, timeout)
    except BackupError:
        # Half of a backup would keep a disk full. Where that fails too, the next copy does it.
        with suppress(BackupError):
            _sftp(host, _remove(part), ssh_args, timeout)
        raise
    return old


def same_disk(directory: Path, place: str) -> str:
    """That a second place is none, since it is lost with the first; empty for another disk or host."""
    if not place.startswith(("/", "~")):
        return ""
    there = Path(place).expanduser()
    if there.stat().st_dev != directory.stat().st_dev:
        return ""
    return (
        f"{place} (cluster_backup_copy_to) is on the same disk as {directory}, and is lost with it: is its own disk "
        "mounted?"
    )


def _to_directory(backup: Path, directory: Path, cluster_name: str, keep: int) -> list[str]:
    directory.mkdir(mode=0o700, exist_ok=True)
    for old in directory.glob(".part-*"):
        shutil.rmtree(old)
    part, whole = directory / f".part-{backup.name}", directory / backup.name
    part.mkdir(mode=0o700)
    with removed_unless_done(part):
        for path in backup.iterdir():
            copied = part / path.name
            copied.touch(mode=0o600)
            shutil.copyfile(path, copied)
            with copied.open("rb") as file:
                os.fsync(file.fileno())
            if sha256_of(copied) != sha256_of(path):
                raise BackupError(f"{copied} is not what was written: check the disk")
        sync(part)
        part.rename(whole)
    # Before others are removed for it: the disk may be pulled out, or lose its power.
    sync(directory)
    return prune(directory, keep, cluster_name, backup.name)


@contextmanager
def removed_unless_done(part: Path) -> Iterator[None]:
    """A folder that goes when what is in it cannot be finished: a disk that is full because of it stays usable."""
    try:
        yield
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _remove(folder: str) -> list[str]:
    """Commands that remove a folder of files."""
    return [f"-rm {folder}/*", f"rmdir {folder}"]


def _sftp(host: str, commands: Sequence[str], ssh_args: str, timeout: float) -> str:
    """What sftp answers to commands, the first that fails ends it. Raises BackupError."""
    argv = ["sftp", "-b", "-"]
    for name, value in _OPTIONS.items():
        argv += ["-o", f"{name}={value}"]
    argv += [*shlex.split(ssh_args), host]
    try:
        # Whoever has the place by now may say anything, without end.
        done = captured(argv, timeout, "\n".join(commands) + "\n")
    except FileNotFoundError:
        raise BackupError(
            "sftp: not installed on the control node; install the Debian package openssh-client"
        ) from None
    except subprocess.TimeoutExpired:
        raise BackupError(f"{host}: not done after {timeout:.0f} s (cluster_backup_timeout)") from None
    if done.returncode:
        reason = printable(" ".join(done.stderr.split())[-500:])
        hints = {
            "Host key verification failed": "; connect once by hand (ssh), compare the fingerprint, and accept it",
            "not found": "; create the directory there",
            "Permission denied (": "; it is reached by a key, never by a password: ssh-copy-id, or "
            "cluster_backup_copy_ssh_args='-i KEY'",
            'write remote "': "; is its disk full?",
        }
        hint = next((hint for text, hint in hints.items() if text in reason), "")
        raise BackupError(f"{host}: {reason or f'sftp ended with {done.returncode}'}{hint}")
    return done.stdout
