"""Delete a node from its cluster: the Node, its pods, and its node password."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.edge_ai.cluster.plugins.module_utils.action import Action
from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s import node_password
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.api import REQUEST, connected, reason
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.nodes import internal_address, is_ready, ready_status
from kubernetes import client
from urllib3.exceptions import HTTPError

#: Seconds between two requests, and between two lines of progress.
POLL, TICK = 2.0, 10.0
#: Where kubelets renew their leases, every ten seconds.
LEASES = "kube-node-lease"


class Deletion:
    """One node in the API of its cluster."""

    def __init__(self, api: client.ApiClient, task: dict[str, Any], show: Callable[[str], None]) -> None:
        self.task, self.show = task, show
        self.name: str = task["node"]
        self.secret = f"{self.name}.node-password.k3s"
        self.core, self.leases = client.CoreV1Api(api), client.CoordinationV1Api(api)

    def ask(self, what: Callable[..., Any], *args: str) -> Any:
        """An answer of the API; None for an object that is not there. Tried again while the API is busy."""
        begun = time.monotonic()
        while True:
            try:
                return what(*args, _request_timeout=REQUEST)
            except (client.ApiException, HTTPError) as error:
                status = error.status if isinstance(error, client.ApiException) else 0
                # 409: it is another object of this name by now.
                if status in (404, 409):
                    return None
                final = status in (401, 403, 422)
                if final or time.monotonic() - begun > self.task["timeout"]:
                    raise AnsibleActionFail(
                        f"the cluster cannot be queried for node {self.name}: {reason(error)}. Is k3s running on the "
                        f"first of k3s_servers, and is {self.task['kubeconfig']} of this cluster?"
                    ) from error
                time.sleep(POLL)

    def node(self) -> Any:
        """The Node, None when there is none."""
        return self.ask(self.core.read_node, self.name)

    def heartbeat(self) -> str:
        """When the node's kubelet last renewed its lease."""
        lease = self.ask(self.leases.read_namespaced_lease, self.name, LEASES)
        return str(lease.spec.renew_time) if lease is not None else ""

    def knows_password(self) -> bool:
        """Whether k3s accepts the given password; also true for a hash in a form that only k3s knows."""
        secret = self.ask(self.core.read_namespaced_secret, self.secret, "kube-system")
        if secret is None:
            return True
        stored = base64.b64decode((secret.data or {}).get("hash", "")).decode(errors="replace")
        return node_password.matches(stored, self.task["password"]) is not False

    def wait_until_unknown(self, node: Any) -> None:
        """Return when no kubelet renews the Node's lease; raises AnsibleActionFail when one does, or it is not ours."""
        host = self.task["address"]
        there = internal_address(node)
        if host and there not in ("", host):
            raise AnsibleActionFail(
                f"Node {self.name} of the cluster has the address {there}, this board has {host}: it is not "
                "certain that they are one board, so nothing was deleted. If the old one is gone for good, remove it "
                f"first: kubectl --kubeconfig {self.task['kubeconfig']} delete node {self.name}"
            )
        begun = shown = time.monotonic()
        first = self.heartbeat()
        while node is not None and ready_status(node) != "Unknown":
            if self.heartbeat() != first:
                raise AnsibleActionFail(
                    f"Node {self.name} is running, but not on this board ({host or 'fresh'}): another machine "
                    "has joined under this name. Nothing was deleted. Give one of the two another name in the "
                    "inventory, or remove the other one"
                )
            now = time.monotonic()
            if now - begun > self.task["timeout"]:
                raise AnsibleActionFail(
                    f"Node {self.name} is still {'Ready' if is_ready(node) else 'not Unknown'} after "
                    f"{self.task['timeout']} s without a heartbeat: is the controller manager running on the "
                    f"server? See: kubectl --kubeconfig {self.task['kubeconfig']} describe node {self.name}"
                )
            if now - shown > TICK:
                shown = now
                self.show(f"    {self.name}: waiting until the cluster marks it Unknown ({now - begun:.0f} s)")
            time.sleep(POLL)
            node = self.node()

    def gone(self, what: Callable[..., Any], *args: str) -> bool:
        """Whether an object is gone before the time is over."""
        begun = time.monotonic()
        while self.ask(what, *args) is not None:
            if time.monotonic() - begun > self.task["timeout"]:
                return False
            time.sleep(POLL / 2)
        return True

    def delete_pods(self, pretend: bool) -> list[str]:
        """Delete pods that were bound to a node that is gone, without waiting for its kubelet; their names.

        The cluster would do so within a minute. But a board that joins under this name before that gets pods of its
        old card, rejects those whose labels it does not have yet, and they remain as failed.
        """
        listed = self.ask(
            lambda **more: self.core.list_pod_for_all_namespaces(field_selector=f"spec.nodeName={self.name}", **more)
        )
        pods = listed.items if listed is not None else []
        for pod in pods if not pretend else []:
            options = client.V1DeleteOptions(
                grace_period_seconds=0, preconditions=client.V1Preconditions(uid=pod.metadata.uid)
            )
            self.ask(
                lambda name, namespace, options=options, **more: self.core.delete_namespaced_pod(
                    name, namespace, body=options, **more
                ),
                pod.metadata.name,
                pod.metadata.namespace,
            )
        return [f"Pod {pod.metadata.namespace}/{pod.metadata.name}" for pod in pods]

    def delete(self, pretend: bool) -> list[str]:
        """Delete what there is; the names of what was deleted (or would be)."""
        deleted = []
        node = self.node()
        if node is not None:
            if self.task["fresh"]:
                if self.task["password"] and self.knows_password():
                    return []
                if pretend:
                    return [f"Node {self.name}"]
                self.wait_until_unknown(node)
            deleted.append(f"Node {self.name}")
            if not pretend:
                # Of this very object: a board that joined meanwhile is not deleted.
                options = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=node.metadata.uid))
                self.ask(lambda name, **more: self.core.delete_node(name, body=options, **more), self.name)
                if not self.gone(self.core.read_node, self.name):
                    raise AnsibleActionFail(
                        f"Node {self.name} was deleted, but is still there after {self.task['timeout']} s: does it "
                        f"have a finalizer? See: kubectl --kubeconfig {self.task['kubeconfig']} get node "
                        f"{self.name} -o yaml"
                    )
        deleted += self.delete_pods(pretend)
        # k3s deletes it with the Node since 1.33.6; older ones do not, nor with a Node that was deleted by hand.
        if self.ask(self.core.read_namespaced_secret, self.secret, "kube-system") is not None:
            deleted.append(f"Secret kube-system/{self.secret}")
            if not pretend:
                self.ask(self.core.delete_namespaced_secret, self.secret, "kube-system")
                self.gone(self.core.read_namespaced_secret, self.secret, "kube-system")
        return deleted


class ActionModule(Action):
    """What Ansible asks an action plugin for."""

    def act(self, task: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Delete; fail with a message for the operator."""
        with connected(task["kubeconfig"], task["server"]) as api:
            deleted = Deletion(api, task, self._display.display).delete(self._task.check_mode)
        return {"changed": bool(deleted), "deleted": deleted}
