"""Which runs of the shared folder are removed, and their removal. Standard library only: it runs on the NFS server."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection
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
    what = printable(shared / "runs" / run)
    # First what marks it as complete: half of a run must not be taken for one.
    with (
        contextlib.suppress(FileNotFoundError),
        shared_data.opened_folder(shared, f"runs/{run}") as folder,
        contextlib.suppress(IsADirectoryError),  # which marks nothing
    ):
        os.unlink("complete.json", dir_fd=folder)
    with contextlib.suppress(FileNotFoundError), shared_data.opened_folder(shared, "runs") as runs:
        try:
            shutil.rmtree(run, dir_fd=runs)
        except RecursionError:
            raise Refused(f"{what}: has too many folders in one another") from None
        except OSError as error:
            raise Refused(f"{what}: cannot be deleted ({printable(error, 200)})") from None
