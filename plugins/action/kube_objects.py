"""Get objects of one kind from the cluster's API."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from ansible_collections.edge_ai.cluster.plugins.module_utils.action import Action
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.api import KubeconfigError, connected, reason
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.objects import Objects, base
from urllib3.exceptions import HTTPError


def hide(thing: dict[str, Any], field: str) -> None:
    """Remove a field, as metadata.managedFields, from an object."""
    first, _, rest = field.partition(".")
    if not rest:
        thing.pop(first, None)
    elif isinstance(thing.get(first), dict):
        hide(thing[first], rest)


def found(objects: Objects, task: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects that the task asks for. Raises HTTPError."""
    path = f"{base(task['api_version'])}/"
    if task["namespace"]:
        path += f"namespaces/{task['namespace']}/"
    path += task["resource"]
    if task["name"]:
        one = objects.get(f"{path}/{task['name']}")
        things = [] if one is None else [one]
    else:
        selectors = {
            "labelSelector": ",".join(task["label_selectors"]),
            "fieldSelector": ",".join(task["field_selectors"]),
        }
        query = urlencode({name: text for name, text in selectors.items() if text})
        things = objects.items(f"{path}?{query}" if query else path)
    for thing in things:
        for field in ("metadata.managedFields", *task["hidden_fields"]):
            hide(thing, field)
    return things


class ActionModule(Action):
    """What Ansible asks an action plugin for."""

    def act(self, task: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Get them. A failure is a result, which `until` and `failed_when` see."""
        try:
            with connected(task["kubeconfig"]) as api:
                return {"changed": False, "resources": found(Objects(api), task)}
        except KubeconfigError as error:
            text = str(error)
        except HTTPError as error:
            text = f"the Kubernetes API does not give {task['resource']} ({reason(error)}): check k3s on the servers"
        return {"changed": False, "failed": True, "msg": text}
