"""Have a data set in the control node's cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.edge_ai.cluster.plugins.module_utils import dataset
from ansible_collections.edge_ai.cluster.plugins.module_utils.action import Action


class ActionModule(Action):
    """What Ansible asks an action plugin for."""

    def act(self, task: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Fetch what is missing or has another digest."""
        try:
            changed = dataset.ensure(Path(task["datasets"]), task["name"], Path(task["cache"]))
        except (RuntimeError, OSError) as error:
            raise AnsibleActionFail(str(error)) from None
        return {"changed": changed}
