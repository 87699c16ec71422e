"""Action of the role: run its program on the control node and show its progress."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.edge_ai.cluster.plugins.module_utils.ssh import become_password

PROGRAM = "ansible_collections.edge_ai.cluster.plugins.module_utils.container_image"
#: The directory of ansible_collections, by the path by which Ansible loaded this file.
COLLECTIONS = Path(__file__).absolute().parents[5]


class ActionModule(ActionBase):
    """Nothing is copied to the node by Ansible: `send` streams over its own ssh."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the program; its last line is the result."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        args = self._task.args
        if self._task.check_mode:
            return {**result, "changed": True, "msg": f"would {args['command']} the image"}
        argv = [sys.executable, "-m", PROGRAM, args["command"]]
        for name, value in args.get("options", {}).items():
            for one in value if isinstance(value, list) else [value]:
                argv += [f"--{name.replace('_', '-')}={one}"]
        given = ""
        if args["command"] == "send":
            password = become_password(self, task_vars or {}, args["ssh"]["name"])
            given = json.dumps({**args["ssh"], "password": password})
        return {**result, **self._show(argv, args.get("label") or "", given)}

    def _show(self, argv: list[str], label: str, given: str) -> dict[str, Any]:
        display = Display()
        env = {**os.environ, "PYTHONPATH": str(COLLECTIONS), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        lines: list[str] = []
        with (
            tempfile.TemporaryFile("w+") as errors,
            subprocess.Popen(
                argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            ) as process,
        ):
            assert process.stdin and process.stdout
            with suppress(BrokenPipeError):
                process.stdin.write(given)
                process.stdin.close()
            for line in process.stdout:
                lines.append(line.rstrip())
                if not line.startswith("RESULT "):
                    display.display(f"    {label}{line.rstrip()}")
            code = process.wait()
            errors.seek(0)
            output = errors.read().strip()
        if code or not lines or not lines[-1].startswith("RESULT "):
            return {
                "failed": True,
                "msg": output or f"container_image {argv[3]} failed with exit code {code}",
                "rc": code,
            }
        found = json.loads(lines[-1].removeprefix("RESULT "))
        return {"changed": bool(found.get("built", True)), **found}
