"""Report what is wrong with the objects of a cluster, from the control node."""

from __future__ import annotations

import time
from typing import Any

from ansible_collections.edge_ai.cluster.plugins.module_utils import cluster_check
from ansible_collections.edge_ai.cluster.plugins.module_utils.action import Action
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.api import KubeconfigError, connected, reason
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.objects import Objects
from urllib3.exceptions import HTTPError


def inspect(cluster: Objects, task: dict[str, Any]) -> dict[str, Any]:
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
                return {"changed": False} | inspect(Objects(api), task)
        except KubeconfigError as error:
            problems.append(str(error))
        except (HTTPError, ValueError, KeyError, TypeError) as error:
            problems.append(
                f"the Kubernetes API does not answer as it should ({reason(error)}): check k3s on the servers"
            )
        return {"changed": False, "nodes": 0, "jupyters": [], "problems": problems}
