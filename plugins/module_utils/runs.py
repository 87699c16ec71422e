"""Which runs of the shared folder are removed, and their removal. Standard library only: it runs on the NFS server."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from ansible_collections.edge_ai.cluster.plugins.module_utils import shared_data
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import Refused, printable


def surplus(shared: Path, kept: Collection[str], keep: int) -> list[str]:
    """Names of the runs beyond the newest `keep`, oldest first; none of `kept`. 0 keeps all.

    A name with a date in the future counts for nothing: it would take the place of a run.
    """
    found = []
    for name in shared_data.names(shared, "runs", shared_data.RUN_NAME, shared_data.RUNS):
        with contextlib.suppress(Refused):
            found.append(shared_data.run_name(name))
    return [name for name in reversed(found[keep:]) if name not in kept] if keep > 0 else []


def remove(shared: Path, run: str) -> None:
    """Delete the folder of a run, without following a link. Raises Refused for what its owner cannot delete."""
    with contextlib.suppress(FileNotFoundError), shared_data.opened_folder(shared, "runs") as runs:
        try:
            with _opened(run, runs) as folder:
                # First what marks it as complete: half of a run must not be taken for one.
                with contextlib.suppress(FileNotFoundError, IsADirectoryError):  # a folder marks nothing
                    os.unlink("complete.json", dir_fd=folder)
                _clear(folder)
            os.rmdir(run, dir_fd=runs)
        except FileNotFoundError:
            raise
        except OSError as error:
            what = printable(shared / "runs" / run)
            raise Refused(f"{what}: cannot be deleted ({printable(error, 200)})") from None


#: Entries of a folder that are known at a time: there may be millions.
_AT_ONCE = 1000


def _clear(root: int) -> None:
    """Delete all that is in an open folder.

    A folder in a folder is first moved up to the outermost one: so no path, no recursion and no number of open files
    grows with the depth, and none leads back by "..", which notebooks can move elsewhere meanwhile. Time is limited by
    limit_process.
    """
    while entries := _some(root):
        for name, is_folder in entries:
            if not is_folder:
                os.unlink(name, dir_fd=root)
                continue
            with _opened(name, root) as folder:
                while inner := _some(folder):
                    for each, is_inner_folder in inner:
                        if is_inner_folder:
                            # To move a folder changes its own "..".
                            with _opened(each, folder):
                                os.rename(each, os.urandom(16).hex(), src_dir_fd=folder, dst_dir_fd=root)
                        else:
                            os.unlink(each, dir_fd=folder)
            os.rmdir(name, dir_fd=root)


def _some(folder: int) -> list[tuple[str, bool]]:
    """The first entries of an open folder, and whether each is a folder itself; [] for an empty one."""
    with os.scandir(folder) as entries:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in itertools.islice(entries, _AT_ONCE)]


@contextlib.contextmanager
def _opened(name: str, folder: int) -> Iterator[int]:
    """A descriptor of a folder in another one, which no link leads to; its owner gets the rights to empty it."""
    flags = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    # Reached without a right to it, so that it can be given the rights: by its name, a link would get them.
    reached = os.open(name, os.O_PATH | flags, dir_fd=folder)
    try:
        if os.fstat(reached).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            Path(f"/proc/self/fd/{reached}").chmod(stat.S_IRWXU)
        descriptor = os.open(".", os.O_RDONLY | flags, dir_fd=reached)
    finally:
        os.close(reached)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
