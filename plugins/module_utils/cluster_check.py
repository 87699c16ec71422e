"""What is wrong with a cluster, by the objects of its API (as JSON): a sentence each, with what to do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

Object = Mapping[str, Any]

#: Seconds that a pod may take to end, beyond the time that it was given: a kubelet that runs needs no more.
ENDING = 300
#: Ends of a container within this many seconds are of now. kubelet waits up to 300 between two starts.
RECENT = 900
#: So many starts are more than an update or a power cut makes.
STARTS = 3
#: What ends containers when a board is restarted or loses its power: it is no fault of theirs.
RESTARTED = (0, 255)
#: They hold data: the role manifests never deletes them, and records them also when no manifest has them any more.
#: Users may delete them.
HOLDERS = ("Namespace", "PersistentVolume", "PersistentVolumeClaim")


def age(stamp: str, now: float) -> float:
    """Seconds since a time of the API; 0 for none."""
    if not stamp:
        return 0.0
    return now - datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()


def conditions(thing: Object) -> dict[str, str]:
    """Type to status of an object's conditions."""
    return {each["type"]: each["status"] for each in (thing.get("status") or {}).get("conditions") or []}


def node_problems(nodes: Sequence[Object], boards: Iterable[str]) -> list[str]:
    """Nodes that take no pods, or may not for long, and boards that are none."""
    problems = []
    for node in nodes:
        name, states = node["metadata"]["name"], conditions(node)
        if states.get("Ready") != "True":
            problems.append(f"Node {name} is not Ready: journalctl -u k3s -u k3s-agent on that board")
            continue
        if (node.get("spec") or {}).get("unschedulable"):
            problems.append(f"Node {name} takes no pods: kubectl uncordon {name}")
        for kind, status in states.items():
            if kind != "Ready" and status == "True":
                problems.append(f"Node {name} has {kind}: kubectl describe node {name}")
    names = {node["metadata"]["name"] for node in nodes}
    for board in boards:
        if nodes and board not in names:
            problems.append(f"{board} is not a Node of the cluster: ansible-playbook add-node.yml -l {board}")
    return problems


def pod_problems(pods: Sequence[Object], now: float) -> list[str]:
    """Pods that are not ready, start again and again, or do not end."""
    problems = []
    for pod in pods:
        meta, status = pod["metadata"], pod.get("status") or {}
        name = f"{meta['namespace']}/{meta['name']}"
        describe = f"kubectl -n {meta['namespace']} describe pod {meta['name']}"
        if "deletionTimestamp" in meta:
            # It is the time at which the pod should have ended.
            if age(meta["deletionTimestamp"], now) > ENDING:
                where = (pod.get("spec") or {}).get("nodeName", "no board")
                problems.append(f"pod {name} on {where} does not end: {describe}; check the shares that it has mounted")
        elif status.get("phase") == "Succeeded":
            continue
        elif conditions(pod).get("Ready") != "True":
            problems.append(f"pod {name} is not ready ({status.get('phase', 'Unknown')}): {describe}")
        else:
            for each in status.get("containerStatuses") or []:
                if fails_again(each, now):
                    code = each["lastState"]["terminated"].get("exitCode")
                    problems.append(
                        f"pod {name} was started {each['restartCount']} times again, the last time after exit code "
                        f"{code}: kubectl -n {meta['namespace']} logs --previous {meta['name']} -c {each['name']}"
                    )
    return problems


def fails_again(container: Object, now: float) -> bool:
    """Whether a container's status shows a loop of failures, though it may run at this moment."""
    ended = (container.get("lastState") or {}).get("terminated") or {}
    return (
        container.get("restartCount", 0) >= STARTS
        and ended.get("exitCode") not in RESTARTED
        and age(ended.get("finishedAt") or "", now) < RECENT
    )


def owner_problems(owners: Sequence[Object]) -> list[str]:
    """Deployments that should have no pods, or for which fewer are made, as by a quota: no pod shows it."""
    problems = []
    for each in owners:
        meta, wanted = each["metadata"], each["spec"].get("replicas", 1)
        made = (each.get("status") or {}).get("replicas", 0)
        name, kubectl = f"{meta['namespace']}/{meta['name']}", f"kubectl -n {meta['namespace']}"
        if not wanted and meta["namespace"] == "kube-system":
            problems.append(f"Deployment {name} is scaled to 0: {kubectl} scale deployment {meta['name']} --replicas=1")
        elif not wanted:
            problems.append(f"Deployment {name} is scaled to 0: run ansible-playbook site.yml")
        elif made < wanted:
            problems.append(f"Deployment {name} has {made} of {wanted} pods: {kubectl} get events")
    return problems


def daemon_problems(daemons: Sequence[Object]) -> list[str]:
    """DaemonSets with fewer pods than there are nodes for them; pods that are not ready are named elsewhere."""
    problems = []
    for each in daemons:
        meta, status = each["metadata"], each.get("status") or {}
        made, wanted = status.get("currentNumberScheduled", 0), status.get("desiredNumberScheduled", 0)
        if made < wanted:
            kubectl = f"kubectl -n {meta['namespace']}"
            name = f"{meta['namespace']}/{meta['name']}"
            problems.append(f"DaemonSet {name} has {made} of {wanted} pods: {kubectl} get events")
    return problems


def packaged_problems(owners: Sequence[Object], packaged: Sequence[str]) -> list[str]:
    """Components of k3s whose pods' owner is gone. k3s applies what it brings along when a server starts."""
    there = {each["metadata"]["name"] for each in owners}
    return [
        f"{name} in kube-system was deleted: systemctl restart k3s on a server makes it again; if it does not, "
        "see kubectl -n kube-system get addons,jobs"
        for name in packaged
        if name not in there
    ]


def claim_problems(claims: Sequence[Object]) -> list[str]:
    """Claims without a volume."""
    problems = []
    for each in claims:
        phase = (each.get("status") or {}).get("phase", "Pending")
        if phase != "Bound":
            name = f"{each['metadata']['namespace']}/{each['metadata']['name']}"
            problems.append(f"claim {name} is {phase}: run ansible-playbook site.yml")
    return problems


def recorded(record: Object | None) -> list[list[str]]:
    """[apiVersion, kind, namespace, name] of each object that site.yml made and that should be there."""
    if record is None:
        return []
    return [each for each in json.loads(record["data"]["objects"]) if each[1] not in HOLDERS]


def missing_problems(wanted: Sequence[Sequence[str]], there: Mapping[tuple[str, str, str], set[str]]) -> list[str]:
    """Objects that were made, and are gone; `there` has the names of each (apiVersion, kind, namespace)."""
    gone = [
        f"{kind} {'/'.join(filter(None, (namespace, name)))}"
        for version, kind, namespace, name in wanted
        if name not in there.get((version, kind, namespace), set())
    ]
    problems: list[str] = []
    if not gone:
        return problems
    some = ", ".join(gone[:5]) + (f" and {len(gone) - 5} more" if len(gone) > 5 else "")
    problems.append(f"{some} {'was' if len(gone) == 1 else 'were'} deleted: run ansible-playbook site.yml")
    return problems


def jupyters(deployments: Sequence[Object], services: Sequence[Object], server: str, ingress: bool) -> list[str]:
    """The address of each Jupyter on the board `server`: by its node port, or else by the Ingress.

    A Jupyter is at the path of its own probe.
    """
    ports = {
        each["metadata"]["name"]: each["spec"]["ports"][0].get("nodePort")
        for each in services
        if each["spec"].get("type") == "NodePort"
    }
    found = []
    for each in deployments:
        probe = each["spec"]["template"]["spec"]["containers"][0].get("readinessProbe") or {}
        path = (probe.get("httpGet") or {}).get("path", "")
        if not path.endswith("/login"):
            continue
        path = path.removesuffix("/login")
        if port := ports.get(each["metadata"]["name"]):
            found.append(f"http://{server}:{port}{path}")
        elif ingress:
            found.append(f"https://{server}{path}")
    return found
