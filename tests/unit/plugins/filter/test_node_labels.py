"""Patches of the role node_labels, for nodes as the API returns them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.edge_ai.cluster.plugins.filter import node_labels as plugin

BY_GROUP = {"training": {"role": "training"}, "prediction": {"role": "prediction"}}
GROUPS = {"training": ["pi-02"], "prediction": ["pi-03"]}
MARK = "edge-ai-cluster/managed"


def apply(node: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """RFC 7386, as the API applies a merge patch."""
    result = dict(node)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = apply(result.get(key) or {}, value)
        else:
            result[key] = value
    return result


def node(name: str, labels: dict[str, str] | None = None, taints: list[dict[str, str]] | None = None) -> dict[str, Any]:
    result: dict[str, Any] = {"metadata": {"name": name, "labels": labels or {}}, "spec": {}}
    if taints:
        result["spec"]["taints"] = taints
    return result


def step(nodes: list[dict[str, Any]], wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """Nodes after the role ran, having verified that a second run changes nothing."""
    patches = {patch["metadata"]["name"]: patch for patch in plugin.node_labels_patches(nodes, wanted, MARK)}
    after = [apply(n, patches.get(n["metadata"]["name"], {})) for n in nodes]
    assert plugin.node_labels_patches(after, wanted, MARK) == []
    return after


def labels(node: dict[str, Any]) -> dict[str, str]:
    """Those that are in the inventory, or others'."""
    return {key: value for key, value in node["metadata"]["labels"].items() if key != plugin.SEAL}


def want(labels: dict[str, str] | None = None, taints: list[dict[str, str]] | None = None) -> dict[str, Any]:
    return {"pi-02": {"labels": labels or {}, "taints": taints or []}}


def test_labels_follow_groups_and_hosts() -> None:
    hostvars = {
        "pi-01": {},
        "pi-02": {"node_labels_labels": {"disk": "ssd", "cores": 4}},
        "pi-03": {"k3s_node_name": "Edge-3", "node_labels_taints": [{"key": "gpu", "effect": "NoSchedule"}]},
    }
    assert plugin.node_labels_desired(["pi-01", "pi-02", "pi-03"], hostvars, GROUPS, BY_GROUP) == {
        "pi-01": {"labels": {}, "taints": []},
        "pi-02": {"labels": {"role": "training", "disk": "ssd", "cores": "4"}, "taints": []},
        "edge-3": {"labels": {"role": "prediction"}, "taints": [{"key": "gpu", "effect": "NoSchedule"}]},
    }


def test_one_host_cannot_have_two_roles() -> None:
    groups = {"training": ["pi-02"], "prediction": ["pi-02"]}
    with pytest.raises(AnsibleFilterError, match="pi-02 is in groups training and prediction, which set role=training"):
        plugin.node_labels_desired(["pi-02"], {"pi-02": {}}, groups, BY_GROUP)


def test_taint_without_effect_is_rejected() -> None:
    hostvars = {"pi-02": {"node_labels_taints": [{"key": "gpu"}]}}
    with pytest.raises(AnsibleFilterError, match="needs key and effect"):
        plugin.node_labels_desired(["pi-02"], hostvars, GROUPS, BY_GROUP)


def test_board_that_never_joined_is_an_error_not_a_new_node() -> None:
    with pytest.raises(AnsibleFilterError, match=r"not in the cluster: pi-02 \(its nodes: pi-01\)"):
        plugin.node_labels_patches([node("pi-01")], want({"role": "training"}), MARK)


def test_other_labels_are_never_changed() -> None:
    others = {"kubernetes.io/hostname": "pi-02", "team": "blue"}
    nodes = [node("pi-02", others), node("pi-01", {"role": "theirs"})]
    nodes = step(nodes, want({"role": "training", "disk": "ssd"}))
    assert labels(nodes[0]) == {**others, "role": "training", "disk": "ssd"}
    nodes = step(nodes, want({"role": "prediction"}))
    assert labels(nodes[0]) == {**others, "role": "prediction"}
    nodes = step(nodes, want())
    assert nodes[0]["metadata"]["labels"] == others
    assert nodes[1] == node("pi-01", {"role": "theirs"})


def test_existing_label_is_adopted_and_then_removed_with_the_others() -> None:
    nodes = step([node("pi-02", {"role": "training"})], want({"role": "training"}))
    assert json.loads(nodes[0]["metadata"]["annotations"][MARK])["labels"] == ["role"]
    assert step(nodes, want())[0]["metadata"]["labels"] == {}


def test_node_without_settings_gets_no_annotation() -> None:
    assert plugin.node_labels_patches([node("pi-02")], want(), MARK) == []


FORGED = '{"labels": ["team", "restricted"], "taints": [["quarantine", "NoExecute"]]}'


@pytest.mark.parametrize("forged", [FORGED, "[", "[[[", '{"taints": [1]}', '"x"', '{"labels": 3}'])
def test_an_annotation_that_a_kubelet_wrote_removes_nothing(forged: str) -> None:
    """A kubelet may change its Node's annotations, and neither taints nor labels below node-restriction."""
    quarantine = {"key": "quarantine", "effect": "NoExecute"}
    (before,) = step([node("pi-02", {"team": "blue", "restricted": "1"}, [quarantine])], want({"role": "training"}))
    before["metadata"]["annotations"] = {MARK: forged}
    (after,) = step([before], want({"role": "training"}))
    assert labels(after) == {"team": "blue", "restricted": "1", "role": "training"}
    assert after["spec"]["taints"] == [quarantine]
    assert after["metadata"]["annotations"][MARK] == '{"labels": ["role"], "taints": []}'
    assert plugin.node_labels_problems([before], want({"role": "training"}), MARK) == []
    (alone,) = step([node("pi-02", {"team": "blue"}) | {"spec": {"taints": [quarantine]}}], want())
    assert alone["spec"]["taints"] == [quarantine]


def test_taints_of_the_cluster_stay() -> None:
    theirs = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": "2026-11-22T02:00:00Z"}
    ours = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
    nodes = step([node("pi-02", taints=[theirs])], want(taints=[ours]))
    assert nodes[0]["spec"]["taints"] == [theirs, ours]
    nodes = step(nodes, want(taints=[{**ours, "value": "no"}]))
    assert nodes[0]["spec"]["taints"] == [theirs, {**ours, "value": "no"}]
    assert step(nodes, want())[0]["spec"]["taints"] == [theirs]


def test_what_differs_is_reported() -> None:
    (labelled,) = step([node("pi-02")], want({"role": "training"}, [{"key": "gpu", "effect": "NoSchedule"}]))
    wanted = want({"role": "training"}, [{"key": "gpu", "effect": "NoSchedule"}])
    assert plugin.node_labels_problems([labelled], wanted, MARK) == []
    labelled["metadata"]["labels"] |= {"role": "prediction", "own": "1"}
    labelled["spec"]["taints"] = []
    assert plugin.node_labels_problems([labelled], wanted, MARK) == [
        "Node pi-02 has not what the inventory says (label role, taints): run ansible-playbook site.yml"
    ]


def test_a_cordoned_or_absent_node_does_not_differ() -> None:
    (labelled,) = step([node("pi-02")], want({"role": "training"}))
    labelled["spec"]["taints"] = [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]
    wanted = want({"role": "training"}) | {"pi-03": {"labels": {"role": "prediction"}, "taints": []}}
    assert plugin.node_labels_problems([labelled], wanted, MARK) == []
