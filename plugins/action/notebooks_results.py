"""Bring a complete run from the shared folder into the results of the control node."""

from __future__ import annotations

DOCUMENTATION = """
name: notebooks_results
short_description: Fetch a run from the NFS server, check it, and make it the latest results
description:
  - Runs against the NFS server. The archive is read there by M(edge_ai.cluster.shared_data_read), with the rights of the folder's
    owner, and unpacked here by a process with limits on time and memory.
  - Nothing outside of O(results) is created or changed, whatever notebooks put into the shared folder.
options:
  export: {description: The exported folder on the NFS server., type: path, required: true}
  run: {description: "The run, as M(edge_ai.cluster.notebooks_state) gives it (run, archive_sha256).", type: dict, required: true}
  results: {description: Folder on the control node that gets a folder for the run., type: path, required: true}
  schema: {description: JSON schema of timings.json., type: path, required: true}
"""
RETURN = """
folder: {description: The folder of the run's results., returned: success, type: str}
"""

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

#: Where `ansible_collections` is found, for the process that unpacks.
COLLECTIONS = next(path.parent for path in Path(results.__file__).parents if path.name == "ansible_collections")
PROGRAM = "ansible_collections.edge_ai.cluster.plugins.module_utils.results"


class ActionModule(ActionBase):
    """What Ansible asks an action plugin for."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Fetch, unpack and link; fails with the name of the file that cannot be used."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, task = self.validate_argument_spec(
            argument_spec={
                "export": {"type": "path", "required": True},
                "run": {"type": "dict", "required": True},
                "results": {"type": "path", "required": True},
                "schema": {"type": "path", "required": True},
            }
        )
        folder, run = Path(task["results"]), task["run"].get("run")
        try:
            target = results.target_of(folder, run)
            collected = results.is_collected(folder, run)
        except Refused as error:
            raise AnsibleActionFail(f"{error}") from None
        if self._task.check_mode:
            return result | {"changed": not collected, "folder": str(target)}
        folder.mkdir(parents=True, exist_ok=True)
        if not collected:
            with tempfile.TemporaryFile(dir=folder) as archive:
                self._fetch(task["export"], run, archive, task_vars or {})
                self._unpack(archive, task, run)
        changed = results.link(folder, run) or not collected
        return result | {"changed": changed, "folder": str(target)}

    def _fetch(self, export: str, run: str, archive: IO[bytes], task_vars: dict[str, Any]) -> None:
        """The archive of a run, part by part. Raises AnsibleActionFail."""
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
            if part.get("failed") or part.get("unreachable"):
                raise AnsibleActionFail(f"{part.get('msg')}. Nothing was changed", result=part)
            content = base64.b64decode(part["content"])
            archive.write(content)
            if archive.tell() >= part["size"] or not content:
                break
            if archive.tell() > shared_data.ARCHIVE_BYTES:
                raise AnsibleActionFail(f"{export}/{name}: grew while it was read. Nothing was changed")
        archive.seek(0)

    def _unpack(self, archive: IO[bytes], task: dict[str, Any], run: str) -> None:
        """The results from the archive. Raises AnsibleActionFail."""
        done = subprocess.run(
            [sys.executable, "-m", PROGRAM, task["results"], run, str(task["run"].get("archive_sha256")), task["schema"]],
            stdin=archive,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=10 * results.SECONDS,
            check=False,
            env={**os.environ, "PYTHONPATH": str(COLLECTIONS), "PYTHONDONTWRITEBYTECODE": "1"},
        )
        if done.returncode != 0:
            said = printable(done.stderr.strip().rpartition("\n")[2]) or f"ended with {done.returncode}"
            raise AnsibleActionFail(
                f"{task['export']}/runs/{run}/{shared_data.ARCHIVE}: {said}. Nothing in {task['results']} was changed; "
                f"run the notebooks again (-e notebooks_rerun=true), or remove that run from the shared folder"
            )
