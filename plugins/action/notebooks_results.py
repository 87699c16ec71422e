"""Fetch a complete run from the shared directory into the results of the control node."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from ansible.errors import AnsibleActionFail
from ansible_collections.edge_ai.cluster.plugins.module_utils import results, shared_data
from ansible_collections.edge_ai.cluster.plugins.module_utils.action import Action
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import Refused, printable

#: The directory of `ansible_collections`, for the process that unpacks.
COLLECTIONS = next(path.parent for path in Path(results.__file__).parents if path.name == "ansible_collections")
PROGRAM = "ansible_collections.edge_ai.cluster.plugins.module_utils.results"
#: Bytes of an archive that are asked for at a time.
PART = 4 << 20


def part_of(said: dict[str, Any], offset: int, path: str) -> tuple[bytes, int]:
    """What a board sent of a file from `offset` on, and the size of the whole.

    Raises Refused for all but what was asked for: the NFS server may be a board that others control.
    """
    content, size = said.get("content"), said.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= shared_data.ARCHIVE_BYTES:
        raise Refused(
            f"{path}: its size is {printable(repr(size), 80)}, not one of up to {shared_data.ARCHIVE_BYTES:,}"
        )
    try:
        part = base64.b64decode(content, validate=True) if isinstance(content, str) else b""
    except ValueError:
        raise Refused(f"{path}: what the NFS server sent of it is not base64") from None
    # A part that is too short would be asked for without end.
    if len(part) != min(PART, size - offset):
        raise Refused(f"{path}: the NFS server sent {len(part):,} bytes from {offset:,} on, of {size:,}")
    return part, size


def no_room(folder: Path, reason: str) -> str:
    """That the control node cannot keep results. Another run would not help, and the export still has this one."""
    return (
        f"{folder} cannot be written on the control node ({reason}), and was not changed: free space on its disk, or "
        "set notebooks_results_dir, then run this again: it fetches the run that the export has"
    )


class ActionModule(Action):
    """The action."""

    # Of the NFS server.
    _requires_connection = True

    def act(self, task: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Fetch, unpack and link the first usable run; fails with the names of the unusable files."""
        folder, refused = Path(task["results"]), []
        for run in task["runs"]:
            try:
                return self._collect(task, folder, run, variables)
            except OSError as error:
                raise AnsibleActionFail(no_room(folder, error.strerror or str(error))) from None
            except Refused as error:
                refused.append(str(error))
                self._display.warning(f"ignored and not changed: {error}", formatted=True)
        raise AnsibleActionFail(
            f"{task['export']}/runs contains no usable run: {'; '.join(refused)}. Nothing in {folder} was changed: "
            "run the notebooks again (-e notebooks_rerun=true)"
        )

    def _collect(
        self, task: dict[str, Any], folder: Path, run: dict[str, Any], task_vars: dict[str, Any]
    ) -> dict[str, Any]:
        """Store one run of the shared directory in the results. Raises Refused, AnsibleActionFail."""
        target = results.target_of(folder, run.get("run"))
        collected = results.is_collected(folder, target.name)
        if self._task.check_mode:
            return {"changed": not collected, "folder": str(target)}
        folder.mkdir(parents=True, exist_ok=True)
        if not collected:
            with tempfile.TemporaryFile(dir=folder) as archive:
                self._fetch(task["export"], target.name, archive, task_vars)
                self._unpack(archive, task, run)
        return {"changed": results.link(folder, target.name) or not collected, "folder": str(target)}

    def _fetch(self, export: str, run: str, archive: IO[bytes], task_vars: dict[str, Any]) -> None:
        """The archive of a run, part by part. Raises Refused for an unusable one, AnsibleActionFail."""
        name, size = f"runs/{run}/{shared_data.ARCHIVE}", 1
        while archive.tell() < size:
            said = self._execute_module(
                module_name="edge_ai.cluster.shared_data_read",
                module_args={
                    "export": export,
                    "name": name,
                    "limit": shared_data.ARCHIVE_BYTES,
                    "offset": archive.tell(),
                    "length": PART,
                },
                task_vars=task_vars,
            )
            if said.get("refused"):
                raise Refused(said["msg"])
            if said.get("failed") or said.get("unreachable"):
                raise AnsibleActionFail(str(said.get("msg")), result=said)
            part, size = part_of(said, archive.tell(), f"{export}/{name}")
            archive.write(part)
        archive.seek(0)

    def _unpack(self, archive: IO[bytes], task: dict[str, Any], run: dict[str, Any]) -> None:
        """The results from the archive. Raises Refused."""
        name, digest = str(run["run"]), str(run.get("archive_sha256"))
        try:
            done = subprocess.run(
                [sys.executable, "-m", PROGRAM, task["results"], name, digest, task["schema"]],
                stdin=archive,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=10 * results.SECONDS,
                check=False,
                env={**os.environ, "PYTHONPATH": str(COLLECTIONS), "PYTHONDONTWRITEBYTECODE": "1"},
            )
            code, output = done.returncode, done.stderr.strip().rpartition("\n")[2]
        except subprocess.TimeoutExpired:
            code, output = 1, f"not unpacked after {10 * results.SECONDS} s"
        if code == results.NO_ROOM:
            raise AnsibleActionFail(no_room(Path(task["results"]), printable(output)))
        if code != 0:
            reason = printable(output) or f"unpacking failed with exit code {code}"
            raise Refused(f"{task['export']}/runs/{name}/{shared_data.ARCHIVE}: {reason}")
