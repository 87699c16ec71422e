"""Homes of the hub's users on the export: a directory each, a limit, and what it holds. For root on the NFS server."""

from __future__ import annotations

import os
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.edge_ai.cluster.plugins.module_utils.nfs import quota
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import (
    Refused,
    as_owner,
    open_regular,
    opened_folder,
    printable,
)

FOLDER = "home"
BYTES_PER_FILE = 16384
"""As many files for a limit as ext4 has for its size: one user cannot take all inodes."""
MIB = 1 << 20


@dataclass(frozen=True)
class Home:
    """What a home holds, and may hold, in MiB; a limit of 0 is none."""

    used_mb: int
    limit_mb: int


def create(export: Path, name: str) -> bool:
    """Create the home of `name`, as the export's owner; whether there was none. Raises Refused, OSError."""
    created = False
    with as_owner(export):
        for parent, child in (("", FOLDER), (FOLDER, name)):
            with opened_folder(export, parent) as folder:
                try:
                    os.mkdir(child, 0o750, dir_fd=folder)
                    created = True
                except FileExistsError:
                    pass
    return created


def limit(export: Path, name: str, limit_mb: int, pretend: bool = False) -> bool | None:
    """Limit a home that is there, with all that is in it; 0 takes its limit away.

    Whether something changed; None where the file system has no quotas of projects. The limit itself is set last, so
    it shows that everything in the home counts. Raises Refused, OSError.
    """
    with opened_folder(export, f"{FOLDER}/{name}") as folder:
        # No other file has this number as long as the directory is there.
        number = os.fstat(folder).st_ino & 0x7FFFFFFF
        assigned = quota.project(folder)
    found = quota.quota(export, number)
    if found is None:
        return None
    kib = limit_mb * 1024
    files = limit_mb * MIB // BYTES_PER_FILE
    if (found.limit_kib, found.limit_files) == (kib, files) and assigned == (number if limit_mb else assigned):
        return False
    if not pretend:
        if limit_mb:
            with as_owner(export):
                _assign(export, f"{FOLDER}/{name}", number)
        quota.set_quota(export, number, kib, files)
    return True


def report(export: Path, name: str) -> Home:
    """What a home holds. Raises Refused, FileNotFoundError, OSError, subprocess.TimeoutExpired."""
    with opened_folder(export, f"{FOLDER}/{name}") as folder:
        home, whole = os.fstatvfs(folder), os.statvfs(export)
        number = quota.project(folder)
        found = quota.quota(export, number) if number else None
        # What the kernel enforces is what it shows as the size of such a directory.
        limited = found is not None and home.f_blocks < whole.f_blocks
        used = found.used if found else _measured(folder)
    return Home(-(-used // MIB), home.f_blocks * home.f_frsize // MIB if limited else 0)


def _assign(export: Path, home: str, number: int) -> None:
    """Give a directory and all in it to a project: directories first, so that what is made meanwhile has it."""
    waiting = [home]
    while waiting:
        name = waiting.pop()
        with opened_folder(export, name) as folder:
            quota.set_project(folder, number, inherit=True)
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(f"{name}/{entry.name}")
                    elif entry.is_file(follow_symlinks=False):
                        _assign_file(export, name, entry.name, folder, number)


def _assign_file(export: Path, folder_name: str, name: str, folder: int, number: int) -> None:
    try:
        file = open_regular(name, folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise Refused(f"{printable(export / folder_name / name)}: cannot be counted ({error.strerror})") from None
    try:
        # It may have become something else since.
        if stat.S_ISREG(os.fstat(file).st_mode):
            quota.set_project(file, number, inherit=False)
    finally:
        os.close(file)


def _measured(folder: int) -> int:
    """Bytes that a directory takes, counted file by file."""
    command = ["du", "--summarize", "--one-file-system", "--block-size=1", "."]
    done = subprocess.run(
        command, cwd=f"/proc/self/fd/{folder}", capture_output=True, text=True, check=False, timeout=60
    )
    return int(done.stdout.split()[0]) if done.stdout.strip() else 0
