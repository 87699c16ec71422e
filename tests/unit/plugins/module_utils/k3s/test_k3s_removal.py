"""Which nodes may leave the cluster."""

from __future__ import annotations

from typing import Any

from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s import removal


def node(name: str, ready: bool = True, **labels: str) -> dict[str, Any]:
    labels = {key.replace("__", "/").replace("_", "-"): value for key, value in labels.items()}
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name} | labels},
        "status": {
            "conditions": [{"type": "Ready", "status": "True" if ready else "Unknown"}],
            "addresses": [{"type": "InternalIP", "address": f"192.168.1.{int(name[-2:]) + 10}"}],
        },
    }


def server(name: str, ready: bool = True, etcd: bool = True) -> dict[str, Any]:
    made = node(name, ready)
    made["metadata"]["labels"]["node-role.kubernetes.io/control-plane"] = "true"
    if etcd:
        made["metadata"]["labels"]["node-role.kubernetes.io/etcd"] = "true"
    return made


def board(name: str, **other: Any) -> dict[str, Any]:
    return {
        "host": name,
        "node": name,
        "address": f"192.168.1.{int(name[-2:]) + 10}",
        "first": False,
        "answers": True,
        "runs": True,
    } | other


def blocker(kind: str, on: str) -> dict[str, Any]:
    return {"node": on, "kind": kind, "text": f"pod shop/{kind}: reason"}


def errors(
    boards: list[dict[str, Any]],
    nodes: list[dict[str, Any]],
    blockers: list[dict[str, Any]] = [],  # noqa: B006 - only read
    volumes: list[dict[str, Any]] = [],  # noqa: B006
    **rules: Any,
) -> str:
    all_rules = {"refused": {}, "sole_labels": ["role"], "accept": []} | rules
    cluster = {"nodes": nodes, "blockers": blockers, "volumes": volumes}
    return "\n".join(removal.errors(boards, cluster, all_rules))


def test_a_spare_board_may_go() -> None:
    nodes = [server("pi-01", etcd=False), node("pi-03", role="prediction"), node("pi-05", role="prediction")]
    assert errors([board("pi-05")], nodes, [blocker("job", "pi-05"), blocker("controller", "pi-01")]) == ""


def test_last_node_with_a_role_stays_unless_accepted() -> None:
    nodes = [server("pi-01"), node("pi-03", role="prediction"), node("pi-05", role="prediction")]
    both = [board("pi-03"), board("pi-05")]
    found = errors(both, nodes)
    assert found.count("is the only node with role=prediction") == 2
    assert errors(both, nodes, accept=["label"]) == ""
    assert "k3s_remove_accept has labels" in errors(both, nodes, accept=["labels"])


def test_last_server_stays() -> None:
    nodes = [server("pi-01", etcd=False), node("pi-02")]
    assert "no server would be left" in errors([board("pi-01")], nodes, accept=["label", "data"])


def test_first_server_stays_while_it_is_the_first() -> None:
    nodes = [server("pi-01"), server("pi-02"), server("pi-03")]
    assert "first of k3s_servers" in errors([board("pi-01", first=True)], nodes)


def test_etcd_keeps_its_majority() -> None:
    healthy = [server("pi-01"), server("pi-02"), server("pi-03")]
    one, two = board("pi-02"), board("pi-03")
    assert errors([one], healthy) == ""
    assert "etcd has 3 members, and 2 of them must agree" in errors([one, two], healthy)
    # The failed one may be removed, a running one may not.
    degraded = [server("pi-01"), server("pi-02", ready=False), server("pi-03")]
    assert errors([{**one, "answers": False}], degraded) == ""
    assert "1 that are Ready (pi-01)" in errors([two], degraded)
    # Of two members both must agree, but one would be stopped.
    assert "etcd has 2 members" in errors([two], [server("pi-01"), server("pi-03")])


def test_what_only_this_node_has() -> None:
    nodes = [server("pi-01"), node("pi-05")]
    local = {
        "metadata": {"name": "disk"},
        "spec": {
            "local": {"path": "/mnt"},
            "claimRef": {"namespace": "shop", "name": "data"},
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["pi-05"]}]}
                    ]
                }
            },
        },
    }
    export = {"metadata": {"name": "nfs"}, "spec": {"nfs": {"server": "192.168.1.11", "path": "/"}}}
    assert "PersistentVolume disk (claim shop/data) lies on its disk" in errors([board("pi-05")], nodes, [], [local])
    assert errors([board("pi-05")], nodes, [], [local], accept=["data"]) == ""
    assert errors([board("pi-05")], nodes, [], [export]) == ""
    assert "served by it (192.168.1.11:/)" in errors([board("pi-01")], nodes, [], [export], accept=["data", "label"])


def test_pods_that_would_lose_something() -> None:
    nodes = [server("pi-01"), node("pi-05")]
    found = errors([board("pi-05")], nodes, [blocker("controller", "pi-05"), blocker("data", "pi-05")])
    assert found.splitlines() == [
        "pi-05: pod shop/controller: reason",
        "pi-05: pod shop/data: reason, or accept the loss with -e k3s_remove_accept=data",
    ]


def test_a_failed_board_may_be_removed_but_not_one_that_only_ssh_misses() -> None:
    silent = board("pi-05", answers=False)
    assert errors([silent], [server("pi-01"), node("pi-05", ready=False)], [blocker("controller", "pi-05")]) == ""
    assert "its Node is Ready" in errors([silent], [server("pi-01"), node("pi-05")])
    assert errors([silent], [server("pi-01")]) == ""


def test_a_kubelet_cannot_keep_its_board_from_being_removed() -> None:
    """What it says of its addresses and host name is not the inventory's."""
    taken = node("pi-05")
    taken["metadata"]["labels"]["kubernetes.io/hostname"] = "pi-01"
    taken["status"]["addresses"] = [{"type": "InternalIP", "address": "192.168.1.11"}]
    export = {"metadata": {"name": "nfs"}, "spec": {"nfs": {"server": "192.168.1.11", "path": "/"}}}
    terms = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["pi-01"]}]}]
    disk = {
        "metadata": {"name": "disk"},
        "spec": {
            "local": {"path": "/mnt"},
            "claimRef": {"namespace": "shop", "name": "data"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
        },
    }
    assert errors([board("pi-05")], [server("pi-01"), taken], [], [export, disk]) == ""


def test_another_machine_of_that_name_is_not_removed() -> None:
    nodes = [server("pi-01"), node("pi-05")]
    assert "another machine has joined" in errors([board("pi-05", runs=False)], nodes)
    assert errors([board("pi-05", runs=False)], [server("pi-01"), node("pi-05", ready=False)]) == ""


def test_reasons_of_the_playbook_are_reported() -> None:
    refused = {"pi-05": "holds the data"}
    assert errors([board("pi-05")], [server("pi-01")], refused=refused) == "pi-05 holds the data"
