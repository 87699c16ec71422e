"""Gather facts of a board; an unreachable board is a result too, so that one list has the errors of all boards."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Runs the module of the same name."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result with host, address, and `problem` if the board was unreachable.

        `limits` and `image_base` are returned as they are: preflight_boards compares each board with its own.
        """
        super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        known = {
            "changed": False,
            "limits": arguments.pop("limits"),
            "image_base": arguments.pop("image_base"),
            "host": variables.get("inventory_hostname", ""),
            "address": str(variables.get("ansible_host", "")),
        }
        try:
            result = self._execute_module("edge_ai.cluster.preflight_info", module_args=arguments, task_vars=variables)
        except AnsibleConnectionFailure as error:
            return known | {"problem": " ".join(str(error).split())}
        if result.get("failed") or result.get("unreachable"):
            return known | {"problem": " ".join(str(result.get("msg", "no response")).split())}
        return known | result | {"changed": False}
