"""Drain a node by evictions, or uncordon it; through the API alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, ClassVar

from ansible.errors import AnsibleActionFail
from ansible_collections.edge_ai.cluster.plugins.module_utils.action import Action
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.api import REQUEST, connected, reason
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.nodes import is_ready, is_server, version_of
from kubernetes import client
from urllib3.exceptions import HTTPError

#: Seconds between two requests, and between two lines of progress.
POLL, TICK = 1.5, 10.0
#: Among emptydir_namespaces: all of them.
EVERYWHERE = "*"
#: The taint that the controllers put on a Node that is cordoned.
CORDONED = "node.kubernetes.io/unschedulable"
#: The annotation by which a pod without a controller says that it may go: whoever uses it starts it again.
MAY_GO = "cluster-autoscaler.kubernetes.io/safe-to-evict"


def controller(pod: Any) -> str:
    """Kind of the controller that would recreate this pod; empty when there is none."""
    return next((str(owner.kind) for owner in pod.metadata.owner_references or [] if owner.controller), "")


def name_of(pod: Any) -> str:
    """NAMESPACE/NAME."""
    return f"{pod.metadata.namespace}/{pod.metadata.name}"


def stays(pod: Any) -> bool:
    """Whether draining leaves this pod alone: it belongs to the node, or has ended and only keeps its log."""
    mirror = "kubernetes.io/config.mirror" in (pod.metadata.annotations or {})
    return mirror or controller(pod) == "DaemonSet" or pod.status.phase in ("Succeeded", "Failed")


def blocker(pod: Any, emptydir_namespaces: list[str]) -> tuple[str, str] | None:
    """Kind (controller, job, data) and text, with what to do, of why this pod must not be evicted; None when it may."""
    if stays(pod):
        return None
    if not controller(pod) and (pod.metadata.annotations or {}).get(MAY_GO) != "true":
        return "controller", f"pod {name_of(pod)} has no controller that would start it again: delete it yourself"
    if controller(pod) == "Job":
        return "job", f"pod {name_of(pod)} belongs to a Job that is running: wait for its end, or delete the Job"
    local = [volume.name for volume in pod.spec.volumes or [] if volume.empty_dir]
    if local and not {pod.metadata.namespace, EVERYWHERE} & set(emptydir_namespaces):
        return "data", (
            f"pod {name_of(pod)} would lose the data of its emptyDir {', '.join(local)}: delete it yourself, or add "
            f"{pod.metadata.namespace} to k3s_drain_emptydir_namespaces"
        )
    return None


def mark_of(node: Any, mark: str) -> dict[str, Any] | None:
    """The content of the annotation on a node; None when there is none."""
    text = (node.metadata.annotations or {}).get(mark)
    if not text:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    # One that cannot be parsed, as a kubelet may write it, shows at least that the node was cordoned; it uncordons
    # nothing.
    return found if isinstance(found, dict) else {"reason": str(text), "cordoned": False}


def refusal(error: client.ApiException) -> str:
    """The API's message about an eviction that it does not allow yet."""
    try:
        body = json.loads(error.body or "")
        causes = [cause["message"] for cause in (body.get("details") or {}).get("causes", [])]
        return "; ".join(causes) or str(body["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)


class Drain:
    """One cluster's API, and the node in question."""

    def __init__(self, api: client.ApiClient, task: dict[str, Any], show: Callable[[str], None]) -> None:
        self.task, self.show = task, show
        self.api = client.CoreV1Api(api)

    def known(self) -> dict[str, Any]:
        """All nodes, and the pods which keep one from being drained."""
        try:
            nodes: list[Any] = self.api.list_node(_request_timeout=REQUEST).items
            pods: list[Any] = self.api.list_pod_for_all_namespaces(_request_timeout=REQUEST).items
        except (client.ApiException, HTTPError) as error:
            return {"api": reason(error), "nodes": [], "blockers": []}
        found = [(pod.spec.node_name, blocker(pod, self.task["emptydir_namespaces"])) for pod in pods]
        return {
            "api": "",
            "nodes": [
                {
                    "name": node.metadata.name,
                    "ready": is_ready(node),
                    "version": version_of(node),
                    "server": is_server(node),
                    "unschedulable": bool(node.spec.unschedulable),
                    "mark": mark_of(node, self.task["mark"]),
                }
                for node in nodes
            ],
            "blockers": [
                {"node": node, "kind": stop[0], "text": stop[1]} for node, stop in found if node and stop is not None
            ],
        }

    def patch(self, change: Callable[[Any], dict[str, Any] | None]) -> bool:
        """Patch the node with what `change` makes of it; again after a conflict. Whether it changed."""
        begun = time.monotonic()
        while True:
            try:
                node: Any = self.api.read_node(self.task["node"], _request_timeout=REQUEST)
                body = change(node)
                if body is None:
                    return False
                body.setdefault("metadata", {})["resourceVersion"] = node.metadata.resource_version
                self.api.patch_node(self.task["node"], body, _request_timeout=REQUEST)
                return True
            except (client.ApiException, HTTPError) as error:
                # A server that has just restarted may not be ready yet.
                final = isinstance(error, client.ApiException) and error.status in (401, 403, 404, 422)
                if final or time.monotonic() - begun > 60:
                    raise AnsibleActionFail(f"Node {self.task['node']} cannot be changed: {reason(error)}") from None
                time.sleep(POLL)

    def cordon(self, node: Any) -> dict[str, Any] | None:
        """The patch that cordons the node and records, in the same step, whether it was cordoned before."""
        mark = mark_of(node, self.task["mark"])
        if node.spec.unschedulable:
            # Cordoned by an earlier run of ours, or by a user: then it stays cordoned.
            wanted = {"reason": self.task["reason"], "cordoned": bool(mark and mark.get("cordoned"))}
            if mark == wanted:
                return None
            return {"metadata": {"annotations": {self.task["mark"]: json.dumps(wanted)}}}
        wanted = {"reason": self.task["reason"], "cordoned": True}
        return {"metadata": {"annotations": {self.task["mark"]: json.dumps(wanted)}}, "spec": {"unschedulable": True}}

    def release(self, node: Any) -> dict[str, Any] | None:
        """The patch that uncordons the node if it was cordoned here, and removes the annotation."""
        mark = mark_of(node, self.task["mark"])
        if mark is None:
            return None
        patch: dict[str, Any] = {"metadata": {"annotations": {self.task["mark"]: None}}}
        return patch | ({"spec": {"unschedulable": None}} if mark.get("cordoned") else {})

    def pods(self) -> list[Any]:
        """Pods on the node that have to leave."""
        selector = f"spec.nodeName={self.task['node']}"
        found: list[Any] = self.api.list_pod_for_all_namespaces(field_selector=selector, _request_timeout=REQUEST).items
        return [pod for pod in found if not stays(pod)]

    def evict(self, pod: Any) -> str:
        """Ask for the eviction of a pod. Why it has to wait; empty when it leaves."""
        meta = client.V1ObjectMeta(name=pod.metadata.name, namespace=pod.metadata.namespace)
        # Not of another pod of this name that was created since.
        options = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=pod.metadata.uid))
        try:
            self.api.create_namespaced_pod_eviction(
                pod.metadata.name,
                pod.metadata.namespace,
                client.V1Eviction(metadata=meta, delete_options=options),
                _request_timeout=REQUEST,
            )
        except client.ApiException as error:
            if error.status in (404, 409):
                return ""
            if error.status not in (429, 500, 503):
                raise
            return refusal(error)
        return ""

    def cordon_seen(self) -> bool:
        """Whether the cluster's controllers have seen that the node is cordoned: they work, and hear of changes.

        A server that was just restarted answers before they do. A pod that is evicted until then ends while it is
        still an endpoint of its Services, and connections to it are refused.
        """
        node: Any = self.api.read_node(self.task["node"], _request_timeout=REQUEST)
        return any(taint.key == CORDONED for taint in node.spec.taints or [])

    def step(self, evicted: list[str]) -> dict[str, str]:
        """Evict what may leave now, into `evicted`. What is waited for, and why; empty when the node is drained."""
        if not self.cordon_seen():
            return {"kube-controller-manager": f"has not put the taint {CORDONED} on the cordoned node"}
        waits: dict[str, str] = {}
        for pod in self.pods():
            name = name_of(pod)
            if pod.metadata.deletion_timestamp:
                waits[name] = "is ending"
            elif controller(pod) == "Job":
                waits[name] = "belongs to a running Job, which is waited for"
            elif stop := blocker(pod, self.task["emptydir_namespaces"]):
                raise AnsibleActionFail(f"{self.task['node']} is not drained: {stop[1]}")
            elif refused := self.evict(pod):
                waits[name] = refused
            else:
                waits[name] = "is ending"
                evicted.append(name)
        return waits

    def drain(self) -> list[str]:
        """Evict until no pod is left that has to leave. Names of those evicted. Raises AnsibleActionFail."""
        node, begun = self.task["node"], time.monotonic()
        evicted: list[str] = []
        shown = begun
        while True:
            try:
                waits = self.step(evicted)
                if not waits:
                    return evicted
            except (client.ApiException, HTTPError) as error:
                waits = {"API": reason(error)}
            now = time.monotonic()
            if now - begun > self.task["timeout"]:
                lines = "\n".join(f"  {name}: {why}" for name, why in waits.items())
                raise AnsibleActionFail(
                    f"{node} is not drained after {self.task['timeout']} s (k3s_drain_timeout). Waited for:\n{lines}\n"
                    f"See: kubectl --kubeconfig {self.task['kubeconfig']} get pdb,pods -A -o wide"
                )
            if now - shown > TICK:
                shown = now
                for name, why in waits.items():
                    self.show(f"    {node}: {name} {why} ({now - begun:.0f} s)")
            time.sleep(POLL)


class ActionModule(Action):
    """What Ansible asks an action plugin for."""

    RULES: ClassVar = {"required_if": [("state", "drained", ["node"]), ("state", "released", ["node"])]}

    def act(self, task: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Do what `state` says; fail with a message for the operator."""
        with connected(task["kubeconfig"]) as api:
            return self.reach(Drain(api, task, self._display.display), task)

    def reach(self, drain: Drain, task: dict[str, Any]) -> dict[str, Any]:
        """Bring the node to the task's `state`; what the task returns. Raises AnsibleActionFail."""
        if task["state"] == "known":
            return {"changed": False} | drain.known()
        if task["state"] == "released":
            if self._task.check_mode:
                node: Any = drain.api.read_node(task["node"], _request_timeout=REQUEST)
                return {"changed": drain.release(node) is not None}
            return {"changed": drain.patch(drain.release)}
        if self._task.check_mode:
            return {"changed": True, "evicted": []}
        changed = drain.patch(drain.cordon)
        evicted = drain.drain()
        return {"changed": changed or bool(evicted), "evicted": evicted}
