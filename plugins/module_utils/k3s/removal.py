"""Whether nodes may leave the cluster: every reason why not, with what to do."""

from __future__ import annotations

from typing import Any

from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.nodes import is_ready, is_server, labels_of

ETCD = "node-role.kubernetes.io/etcd"
#: What an operator may accept: the last node with a label; data that only this node has.
ACCEPTABLE = ("label", "data")


def errors(boards: list[dict[str, Any]], cluster: dict[str, list[dict[str, Any]]], rules: dict[str, Any]) -> list[str]:
    """Every reason against removing `boards` at once, a line each; empty when they can be removed.

    `boards`: {host, node, address, first, answers, runs} of each board; `first` is the server that others join through,
    `runs` is whether k3s or pods run there.
    `cluster`: nodes and volumes (PersistentVolumes) as the API returns them, blockers as k3s_drain does.
    `rules`: refused ({host: reason}), sole_labels (keys of which each value must remain on another node), accept (words
    of ACCEPTABLE).
    """
    nodes = {node["metadata"]["name"]: node for node in cluster["nodes"]}
    leaving = {board["node"] for board in boards if board["node"] in nodes}
    staying = [node for name, node in nodes.items() if name not in leaving]
    problems = [
        f"k3s_remove_accept has {word}: use {' or '.join(ACCEPTABLE)}"
        for word in rules["accept"]
        if word not in ACCEPTABLE
    ]
    for board in boards:
        host, node = board["host"], nodes.get(board["node"])
        if host in rules["refused"]:
            problems.append(f"{host} {rules['refused'][host]}")
        if board["first"]:
            problems.append(
                f"{host} is the first of k3s_servers, through which others join: write another server first there, run "
                "site.yml, then remove this one"
            )
        if node is None:
            continue
        if not board["answers"] and is_ready(node):
            problems.append(
                f"{host} does not answer over ssh, yet its Node is Ready, so its agent is running: fix ssh first, or "
                "power it off"
            )
        if board["answers"] and is_ready(node) and not board["runs"]:
            problems.append(
                f"{host}: Node {board['node']} is Ready, yet k3s does not run on this board: another machine has "
                "joined under this name. Check its address (kubectl get node -o wide), and at ansible_host in the "
                "inventory"
            )
        if "label" not in rules["accept"]:
            problems += [f"{host} {text}" for text in sole_labels(node, staying, rules["sole_labels"])]
        if "data" not in rules["accept"]:
            problems += [f"{host}: {text}" for text in local_volumes(node, cluster["volumes"])]
        problems += [f"{host}: {text}" for text in served_volumes(board, cluster["volumes"])]
        # Pods of a board that is off are lost already; what they had is, too.
        if board["answers"] and is_ready(node):
            problems += [f"{host}: {text}" for text in pods_at_risk(board["node"], cluster["blockers"])]
    return list(dict.fromkeys(problems + server_errors(leaving, nodes)))


def server_errors(leaving: set[str], nodes: dict[str, dict[str, Any]]) -> list[str]:
    """What the servers that remain would lack."""
    servers = [name for name, node in nodes.items() if is_server(node)]
    going = [name for name in servers if name in leaving]
    if not going:
        return []
    if len(going) == len(servers):
        return [f"{', '.join(going)}: no server would be left: to delete the whole cluster, run playbooks/reset.yml"]
    members = [name for name, node in nodes.items() if ETCD in labels_of(node)]
    if not set(members) & leaving:
        return []
    remaining = [name for name in members if name not in leaving]
    ready = [name for name in remaining if is_ready(nodes[name])]
    # The members that remain decide on the removal, while those that leave still count.
    needed = len(members) // 2 + 1
    if len(ready) < needed:
        return [
            f"{', '.join(going)}: etcd has {len(members)} members, and {needed} of them must agree to a change; "
            f"without {', '.join(going)} there would be {len(ready)} that are Ready ({', '.join(ready) or 'none'}). "
            "Repair the others first, remove one at a time, or add a server before"
        ]
    return []


def sole_labels(node: dict[str, Any], staying: list[dict[str, Any]], keys: list[str]) -> list[str]:
    """Labels that no other node has."""
    own = labels_of(node)
    return [
        f"is the only node with {key}={own[key]}, so what asks for that could run nowhere: give another node the label "
        "first (inventory, then site.yml --tags labels), or accept it with -e k3s_remove_accept=label"
        for key in keys
        if key in own and not any(labels_of(other).get(key) == own[key] for other in staying)
    ]


def local_volumes(node: dict[str, Any], volumes: list[dict[str, Any]]) -> list[str]:
    """PersistentVolumes whose data lies on this node's disk alone."""
    # k3s gives a Node's name as its label kubernetes.io/hostname, which its kubelet may change.
    name = node["metadata"]["name"]
    found = []
    for volume in volumes:
        if not {"local", "hostPath"} & set(volume["spec"]) or not volume["spec"].get("claimRef"):
            continue
        required = ((volume["spec"].get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms") or []
        values = {
            value
            for term in required
            for each in term.get("matchExpressions") or []
            if each["key"] == "kubernetes.io/hostname" and each["operator"] == "In"
            for value in each.get("values") or []
        }
        if name in values:
            claim = volume["spec"]["claimRef"]
            found.append(
                f"PersistentVolume {volume['metadata']['name']} (claim {claim['namespace']}/{claim['name']}) lies on "
                "its disk, and this is the only copy: copy it away and delete the claim, or accept its loss with -e "
                "k3s_remove_accept=data"
            )
    return found


def served_volumes(board: dict[str, Any], volumes: list[dict[str, Any]]) -> list[str]:
    """PersistentVolumes that this board serves to others by NFS.

    By the inventory: a Node's addresses are what its kubelet says, and one could keep itself from being removed.
    """
    names = {board["address"], board["host"], board["node"]}
    return [
        f"PersistentVolume {volume['metadata']['name']} is served by it ({nfs['server']}:{nfs['path']}): the other "
        "nodes would hang. Move the data to another server first"
        for volume in volumes
        if (nfs := volume["spec"].get("nfs")) and nfs["server"] in names
    ]


def pods_at_risk(node: str, blockers: list[dict[str, Any]]) -> list[str]:
    """Pods on a node that would not be recreated elsewhere with their data. The end of a Job is waited for."""
    more = {"data": ", or accept the loss with -e k3s_remove_accept=data"}
    return [
        each["text"] + more.get(each["kind"], "") for each in blockers if each["node"] == node and each["kind"] != "job"
    ]
