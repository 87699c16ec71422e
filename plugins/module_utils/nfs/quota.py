"""Project quotas: what the files of a directory may take together, whoever owns them. For root, on ext4 and XFS.

By quotactl(2) and the ioctls of <linux/fs.h>: Debian's package quota, which has programs for it, would start a server
for quotas of NFSv3 clients on every board.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

_GET_ATTRIBUTES, _SET_ATTRIBUTES = 0x801C581F, 0x401C5820  # FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR
_INHERIT = 0x200  # FS_XFLAG_PROJINHERIT
_GET, _SET, _OF_PROJECTS = 0x800007, 0x800008, 2  # Q_GETQUOTA, Q_SETQUOTA, PRJQUOTA
_LIMITS = 1 | 4  # QIF_BLIMITS, QIF_ILIMITS
_NONE = {errno.ENOENT, errno.ENOSYS, errno.ENOTBLK, errno.ENODEV, errno.ENXIO, errno.ESRCH, errno.EINVAL}
"""What the kernel answers where a file system has no such quotas."""


class _Attributes(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint32),
        ("extent_size", ctypes.c_uint32),
        ("extents", ctypes.c_uint32),
        ("project", ctypes.c_uint32),
        ("copy_extent_size", ctypes.c_uint32),
        ("reserved", ctypes.c_uint8 * 8),
    )


class _Quota(ctypes.Structure):
    _fields_ = (
        ("hard_blocks", ctypes.c_uint64),
        ("soft_blocks", ctypes.c_uint64),
        ("space", ctypes.c_uint64),
        ("hard_inodes", ctypes.c_uint64),
        ("soft_inodes", ctypes.c_uint64),
        ("inodes", ctypes.c_uint64),
        ("block_time", ctypes.c_uint64),
        ("inode_time", ctypes.c_uint64),
        ("valid", ctypes.c_uint32),
    )


@dataclass(frozen=True)
class Quota:
    """What a project may take, in KiB and files (0: no limit), and the bytes that it takes."""

    limit_kib: int = 0
    limit_files: int = 0
    used: int = 0


def project(descriptor: int) -> int:
    """Number of the project of a file or directory; 0 for none, and where the file system knows none."""
    try:
        return int(_attributes(descriptor).project)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP):
            return 0
        raise


def set_project(descriptor: int, number: int, inherit: bool) -> bool:
    """Give a file or directory to a project; what is made in a directory follows with `inherit`. Whether it changed.

    For its owner or root. Raises OSError.
    """
    found = _attributes(descriptor)
    if found.project == number and bool(found.flags & _INHERIT) == inherit:
        return False
    found.project = number
    found.flags = found.flags | _INHERIT if inherit else found.flags & ~_INHERIT
    fcntl.ioctl(descriptor, _SET_ATTRIBUTES, bytes(found))
    return True


def quota(folder: Path, number: int) -> Quota | None:
    """A project's quota on the file system of `folder`; None where it has none. For root. Raises OSError."""
    found = _Quota()
    if not _call(_GET, folder, number, found):
        return None
    return Quota(found.hard_blocks, found.hard_inodes, found.space)


def set_quota(folder: Path, number: int, limit_kib: int, limit_files: int) -> bool:
    """Limit a project; False where the file system has no quotas of projects. For root. Raises OSError."""
    return _call(_SET, folder, number, _Quota(hard_blocks=limit_kib, hard_inodes=limit_files, valid=_LIMITS))


def _attributes(descriptor: int) -> _Attributes:
    content = fcntl.ioctl(descriptor, _GET_ATTRIBUTES, bytes(_Attributes()))
    return _Attributes.from_buffer_copy(content)


def _call(command: int, folder: Path, number: int, values: _Quota) -> bool:
    device = folder.stat().st_dev
    # udev's name for the device of any file system on one.
    special = f"/dev/block/{os.major(device)}:{os.minor(device)}".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.quotactl(command << 8 | _OF_PROJECTS, special, ctypes.c_int(number), ctypes.byref(values)) == 0:
        return True
    failed = ctypes.get_errno()
    if failed in _NONE:
        return False
    raise OSError(failed, f"quotas of {folder}: {os.strerror(failed)}")
