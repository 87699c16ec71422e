"""Report what is wrong with the objects of a cluster, from the control node."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from ansible_collections.edge_ai.cluster.plugins.module_utils import cluster_check
from ansible_collections.edge_ai.cluster.plugins.module_utils.action import Action
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.api import (
    REQUEST,
    KubeconfigError,
    connected,
    reason,
)
from kubernetes import client
from urllib3 import Timeout
from urllib3.exceptions import HTTPError

#: Names are enough where only they are compared: Secrets stay in the API.
METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class Cluster:
    """Reads from an API."""

    def __init__(self, api: client.ApiClient) -> None:
        self.host, self.pool = api.configuration.host, api.rest_client.pool_manager

    def get(self, path: str, accept: str = "application/json") -> dict[str, Any] | None:
        """The answer as JSON; None for what is not there. Asks once, also a server that says nothing.

        Raises HTTPError, ValueError.
        """
        connect, read = REQUEST
        answer = self.pool.request(
            "GET", f"{self.host}{path}", headers={"Accept": accept}, retries=False, timeout=Timeout(connect, read)
        )
        if answer.status == 404:
            return None
        found: dict[str, Any] = json.loads(answer.data)
        if answer.status != 200:
            raise HTTPError(f"{answer.status} {found.get('message', '')}")
        return found

    def items(self, path: str, accept: str = "application/json") -> list[dict[str, Any]]:
        """The objects of a list."""
        return (self.get(path, accept) or {}).get("items") or []

    def names(self, wanted: Sequence[Sequence[str]]) -> dict[tuple[str, str, str], set[str]]:
        """The names that there are, for each (apiVersion, kind, namespace) of `wanted`."""
        paths: dict[tuple[str, str], str] = {}
        for version in {each[0] for each in wanted}:
            base = f"/apis/{version}" if "/" in version else f"/api/{version}"
            for resource in (self.get(base) or {}).get("resources") or []:
                if "/" not in resource["name"]:
                    paths[version, resource["kind"]] = f"{base}/{{}}{resource['name']}"
        found = {}
        for version, kind, namespace in {(each[0], each[1], each[2]) for each in wanted}:
            # A kind that is gone has no objects.
            if path := paths.get((version, kind)):
                listed = self.items(path.format(f"namespaces/{namespace}/" if namespace else ""), METADATA)
                found[version, kind, namespace] = {each["metadata"]["name"] for each in listed}
        return found


def inspect(cluster: Cluster, task: dict[str, Any]) -> dict[str, Any]:
    """The result of the action. Raises HTTPError, ValueError."""
    namespace = task["namespace"]
    core, apps = f"/api/v1/namespaces/{namespace}", f"/apis/apps/v1/namespaces/{namespace}"
    nodes = cluster.items("/api/v1/nodes")
    pods = cluster.items("/api/v1/namespaces/kube-system/pods") + cluster.items(f"{core}/pods")
    deployments = cluster.items(f"{apps}/deployments")
    system = cluster.items("/apis/apps/v1/namespaces/kube-system/deployments")
    daemons = cluster.items("/apis/apps/v1/namespaces/kube-system/daemonsets")
    record = cluster.get(f"{core}/configmaps/{task['record']}")
    wanted = cluster_check.recorded(record)
    problems = cluster_check.node_problems(nodes, task["boards"])
    if not wanted:
        problems.append(f"namespace {namespace} has nothing that site.yml makes: run ansible-playbook site.yml")
    problems += cluster_check.missing_problems(wanted, cluster.names(wanted))
    problems += cluster_check.packaged_problems([*system, *daemons], task["packaged"])
    problems += cluster_check.claim_problems(cluster.items(f"{core}/persistentvolumeclaims"))
    problems += cluster_check.owner_problems([*system, *deployments])
    problems += cluster_check.daemon_problems(daemons)
    problems += cluster_check.pod_problems(pods, time.time())
    services = cluster.items(f"{core}/services")
    jupyters = cluster_check.jupyters(deployments, services, task["server"], task["ingress"])
    return {"nodes": len(nodes), "jupyters": jupyters, "problems": problems}


class ActionModule(Action):
    """What Ansible asks an action plugin for."""

    def act(self, task: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Inspect; an API that does not answer is a problem, too."""
        problems: list[str] = []
        try:
            with connected(task["kubeconfig"]) as api:
                return {"changed": False} | inspect(Cluster(api), task)
        except KubeconfigError as error:
            problems.append(str(error))
        except (HTTPError, ValueError, KeyError, TypeError) as error:
            problems.append(
                f"the Kubernetes API does not answer as it should ({reason(error)}): check k3s on the servers"
            )
        return {"changed": False, "nodes": 0, "jupyters": [], "problems": problems}
