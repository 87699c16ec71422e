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
from ansible.plugins.action import ActionBase
from ansible_collections.edge_ai.cluster.plugins.module_utils import results, shared_data
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import Refused, printable

#: The directory of `ansible_collections`, for the process that unpacks.
COLLECTIONS = next(path.parent for path in Path(results.__file__).parents if path.name == "ansible_collections")
PROGRAM = "ansible_collections.edge_ai.cluster.plugins.module_utils.results"


class ActionModule(ActionBase):
    """The action."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Fetch, unpack and link the first usable run; fails with the names of the unusable files."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, task = self.validate_argument_spec(
            argument_spec={
                "export": {"type": "path", "required": True},
                "runs": {"type": "list", "elements": "dict", "required": True},
                "results": {"type": "path", "required": True},
                "schema": {"type": "path", "required": True},
            }
        )
        folder, refused = Path(task["results"]), []
        for run in task["runs"]:
            try:
                return result | self._collect(task, folder, run, task_vars or {})
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
        name = f"runs/{run}/{shared_data.ARCHIVE}"
        while True:
            part = self._execute_module(
                module_name="edge_ai.cluster.shared_data_read",
                module_args={
                    "export": export,
                    "name": name,
                    "limit": shared_data.ARCHIVE_BYTES,
                    "offset": archive.tell(),
                },
                task_vars=task_vars,
            )
            if part.get("refused"):
                raise Refused(part["msg"])
            if part.get("failed") or part.get("unreachable"):
                raise AnsibleActionFail(str(part.get("msg")), result=part)
            content = base64.b64decode(part["content"])
            archive.write(content)
            if archive.tell() >= part["size"] or not content:
                break
            if archive.tell() > shared_data.ARCHIVE_BYTES:
                raise Refused(f"{export}/{name}: it grew while it was read")
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
        if code != 0:
            reason = printable(output) or f"unpacking failed with exit code {code}"
            raise Refused(f"{task['export']}/runs/{name}/{shared_data.ARCHIVE}: {reason}")
