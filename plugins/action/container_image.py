"""Build the container image on the control node, or send it to a node, and show the progress."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.edge_ai.cluster.plugins.module_utils.action import Action
from ansible_collections.edge_ai.cluster.plugins.module_utils.container_image.archive import load
from ansible_collections.edge_ai.cluster.plugins.module_utils.container_image.inputs import ImageError
from ansible_collections.edge_ai.cluster.plugins.module_utils.container_image.send import remote_script, send
from ansible_collections.edge_ai.cluster.plugins.module_utils.ssh import become_password

PROGRAM = "ansible_collections.edge_ai.cluster.plugins.module_utils.container_image"
#: The directory of ansible_collections, by the path by which Ansible loaded this file.
COLLECTIONS = Path(__file__).absolute().parents[5]


class ActionModule(Action):
    """Nothing is copied to the node by Ansible: `send` streams over its own ssh."""

    def act(self, task: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Build or send; what the program says is shown as it comes."""
        if self._task.check_mode:
            return {"changed": True, "msg": f"would {task['command']} the image"}
        if task["command"] == "build":
            return self._build(task["options"])
        ssh = {**task["ssh"], "password": become_password(self, variables, task["ssh"]["name"])}
        try:
            return self._send(ssh, task["label"], **task["options"])
        except ImageError as error:
            raise AnsibleActionFail(str(error)) from None

    def _show(self, line: str) -> None:
        self._display.display(f"    {line}")

    def _send(
        self, ssh: dict[str, Any], label: str, archive: str, k3s: str, data_dir: str, timeout: Any
    ) -> dict[str, Any]:
        """Stream an archive into a node's containerd. Raises ImageError."""
        known = load(Path(archive))
        if known is None:
            raise ImageError(f"{archive} is not a complete archive: run this again, which builds it")
        script = remote_script(known, k3s, data_dir)
        seconds = send(known, ssh, script, float(timeout), lambda line: self._show(f"{label}{line}"))
        return {"changed": True, "seconds": round(seconds, 1), **asdict(known)}

    def _build(self, options: dict[str, Any]) -> dict[str, Any]:
        """Run the program; its last line is the result. Ended with the playbook, it still cleans up after a builder."""
        argv = [sys.executable, "-m", PROGRAM, "build"]
        for name, value in options.items():
            for one in value if isinstance(value, list) else [value]:
                argv += [f"--{name.replace('_', '-')}={one}"]
        env = {**os.environ, "PYTHONPATH": str(COLLECTIONS), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        last = ""
        with (
            tempfile.TemporaryFile("w+") as errors,
            subprocess.Popen(
                argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
            ) as process,
        ):
            assert process.stdout
            for line in process.stdout:
                last = line.rstrip()
                if not last.startswith("RESULT "):
                    self._show(last)
            code = process.wait()
            errors.seek(0)
            output = errors.read().strip()
        if code or not last.startswith("RESULT "):
            raise AnsibleActionFail(output or f"container_image build failed with exit code {code}")
        found = json.loads(last.removeprefix("RESULT "))
        return {"changed": bool(found["built"]), **found}
