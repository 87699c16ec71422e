"""Delete the Jobs of earlier runs, and wait until their pods have ended on every board that is Ready."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.edge_ai.cluster.plugins.module_utils.action import Action
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.api import REQUEST, connected, reason
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.nodes import is_ready
from kubernetes import client
from urllib3.exceptions import HTTPError

#: Seconds between two requests, and in all.
POLL, TIMEOUT = 1.0, 120


class Cleaning:
    """Jobs and pods of one cluster; `task` is what the action was given."""

    def __init__(self, api: client.ApiClient, task: dict[str, Any], show: Callable[[str], None]) -> None:
        self.core, self.batch, self.task, self.show = client.CoreV1Api(api), client.BatchV1Api(api), task, show
        self.found = {"namespace": task["namespace"], "label_selector": task["selector"], "_request_timeout": REQUEST}

    def jobs(self) -> list[str]:
        """Names of the Jobs."""
        items: list[Any] = self.batch.list_namespaced_job(**self.found).items
        return [job.metadata.name for job in items]

    def delete(self) -> None:
        """Delete the Jobs, each at once, and their pods after it.

        Foreground deletion keeps a Job until its last pod has ended, and its name until then: a pod on a board
        without power never ends. A Job that an interrupted run is deleting in that way is freed as well.
        """
        self.batch.delete_collection_namespaced_job(**self.found, propagation_policy="Background")

    def pods(self) -> tuple[list[str], list[str]]:
        """Pods that have not ended, each as NAME on NODE: those on Nodes that are Ready, and those on other Nodes."""
        items: list[Any] = self.core.list_namespaced_pod(**self.found).items
        # Only pods that a kubelet has to end stay longer than a moment.
        items = [pod for pod in items if pod.spec.node_name]
        nodes: list[Any] = self.core.list_node(_request_timeout=REQUEST).items if items else []
        ready = {node.metadata.name for node in nodes if is_ready(node)}
        running: list[str] = []
        lost: list[str] = []
        for pod in items:
            name = f"{pod.metadata.name} on {pod.spec.node_name}"
            (running if pod.spec.node_name in ready else lost).append(name)
        return running, lost

    def clean(self) -> list[str]:
        """Names of the Jobs that were deleted. Raises AnsibleActionFail when something is left after the timeout."""
        begun, deleted = time.monotonic(), dict[str, None]()
        while True:
            try:
                if jobs := self.jobs():
                    deleted |= dict.fromkeys(jobs)
                    self.delete()
                running, lost = self.pods()
                left = [*(f"Job {name}" for name in jobs), *(f"pod {name}" for name in running)]
                if not left:
                    for name in lost:
                        self.show(f"  {name} is not waited for: the board is not Ready, and ends it when it is back")
                    return list(deleted)
            except (client.ApiException, HTTPError) as error:
                # The server may be restarting.
                left = [f"the API is unreachable: {reason(error)}"]
            if time.monotonic() - begun > TIMEOUT:
                kubectl = f"kubectl --kubeconfig {self.task['kubeconfig']} -n {self.task['namespace']}"
                raise AnsibleActionFail(
                    f"Jobs of earlier runs are not gone after {TIMEOUT} s: {', '.join(left)}. "
                    "No notebook was started: it would share a board with them. See what holds them, then run this "
                    f"again: {kubectl} describe jobs,pods -l {self.task['selector']}"
                )
            time.sleep(POLL)


class ActionModule(Action):
    """The action."""

    def act(self, task: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Delete and wait; fail with a message for the user."""
        with connected(task["kubeconfig"]) as api:
            cleaning = Cleaning(api, task, self._display.display)
            jobs = cleaning.jobs() if self._task.check_mode else cleaning.clean()
        return {"changed": bool(jobs), "jobs": jobs}
