"""Have a data set in the control node's cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.edge_ai.cluster.plugins.module_utils import dataset
from ansible_collections.edge_ai.cluster.plugins.module_utils.arguments import arguments


class ActionModule(ActionBase):
    """What Ansible asks an action plugin for."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Fetch what is missing or has another digest."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        task = arguments(self)
        try:
            changed = dataset.ensure(Path(task["datasets"]), task["name"], Path(task["cache"]))
        except (RuntimeError, OSError) as error:
            raise AnsibleActionFail(str(error)) from None
        return result | {"changed": changed}
