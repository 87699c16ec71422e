"""Reasons against an upgrade."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.filter import k3s

OLD, NEW = "v1.36.3+k3s1", "v1.36.4+k3s1"


def host(name: str, version: str | None = OLD, **more: Any) -> dict[str, Any]:
    probe = {"binary": {"version": version}}
    plain = {"name": name, "node": name, "server": name == "pi-01", "spare": False, "here": True, "release": ""}
    return plain | {"probe": probe} | more


def node(name: str, version: str = OLD, **more: Any) -> dict[str, Any]:
    return {"name": name, "version": version, "ready": True, "mark": None, "unschedulable": False} | more


def cluster(*nodes: dict[str, Any], api: str = "", blockers: list[dict[str, str]] | None = None) -> dict[str, Any]:
    return {"api": api, "nodes": list(nodes), "blockers": blockers or []}


HOSTS = [host("pi-01"), host("pi-02"), host("pi-03")]
NODES = cluster(node("pi-01"), node("pi-02"), node("pi-03"))


def errors(version: str = NEW, hosts: Any = HOSTS, nodes: Any = NODES, notready: Any = ()) -> list[str]:
    return k3s.k3s_upgrade_errors(version, list(hosts), nodes, list(notready))


def test_a_healthy_cluster_may_go_to_a_newer_patch_or_the_next_minor_or_stay() -> None:
    for version in (NEW, "v1.36.3+k3s2", "v1.37.0+k3s1", OLD):
        assert errors(version) == []


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("v1.36.2+k3s1", "older"),
        ("v1.38.0+k3s1", "skips a minor release: upgrade to v1.37 first"),
        ("v2.0.0+k3s1", "skips"),
        ("v1.36.4+lab1", "of another distribution"),
    ],
)
def test_wrong_versions_are_reported_for_every_board_at_once(version: str, words: str) -> None:
    found = errors(version)
    assert [line.split()[0] for line in found] == ["pi-01", "pi-02", "pi-03"]
    assert all(words in line for line in found)


@pytest.mark.parametrize("version", ["stable", "1.36.4", "v1.36.4", "v1.36", "v1.36.4+k3s1\n", "v1.36.4-rc1+k3s1"])
def test_only_release_tags_are_versions(version: str) -> None:
    assert len(errors(version)) == 1
    assert "not a k3s release" in errors(version)[0]


def test_all_reasons_come_in_one_list() -> None:
    hosts = [
        host("pi-01", release="no sums"),
        host("pi-02", probe={"unreachable": True, "msg": "timed out"}, release="no sums"),
        host("pi-03"),
        host("pi-04", None),
    ]
    nodes = cluster(
        node("pi-01"),
        node("pi-02", ready=False),
        node("pi-03", ready=False),
        blockers=[{"node": "pi-01", "text": "pod a/b"}],
    )
    found = errors(hosts=hosts, nodes=nodes)
    assert [line[:34] for line in found] == [
        "pi-02 does not answer over ssh: ti",
        "pi-04 is not in the cluster: run s",
        "Node pi-03 is NotReady: see `kubec",
        "Node pi-01: pod a/b",
        "no sums",
    ]


def test_the_node_that_the_last_roll_stopped_at_may_be_notready() -> None:
    nodes = cluster(node("pi-01", NEW), node("pi-02", ready=False, mark={"cordoned": True}), node("pi-03"))
    assert errors(nodes=nodes) == []
    nodes["nodes"][1]["mark"] = None
    assert len(errors(nodes=nodes)) == 1
    assert errors(nodes=nodes, notready=["pi-02"]) == []


def test_without_an_api_only_a_server_that_has_the_new_binary_is_gone_on_with() -> None:
    down = cluster(api="connection refused")
    assert "API does not answer (connection refused)" in errors(nodes=down)[0]
    assert errors(hosts=[host("pi-01", NEW), *HOSTS[1:]], nodes=down) == []
    assert errors(nodes=down, notready=["pi-01"]) == []


def test_a_limit_never_makes_an_agent_newer_than_a_server() -> None:
    only = [host("pi-01", here=False, probe={}), host("pi-02"), host("pi-03", here=False, probe={})]
    assert "pi-02 would become newer" in errors(hosts=only)[0]
    assert errors(hosts=only, nodes=cluster(node("pi-01", NEW), node("pi-02"), node("pi-03"))) == []
    # Servers alone are the beginning of any roll.
    assert errors(hosts=[host("pi-01"), host("pi-02", here=False, probe={})]) == []


def test_an_agent_that_lags_behind_catches_up_with_its_servers_in_one_step() -> None:
    hosts = [host("pi-01", "v1.36.4+k3s1"), host("pi-02", "v1.34.1+k3s1")]
    nodes = cluster(node("pi-01", "v1.36.4+k3s1"), node("pi-02", "v1.34.1+k3s1"))
    assert errors("v1.36.4+k3s1", hosts, nodes) == []
    assert "skips a minor" in errors("v1.37.0+k3s1", hosts, nodes)[0]


def test_a_board_that_never_joined_is_no_concern_and_its_pods_neither() -> None:
    hosts = [*HOSTS, host("pi-05", None, spare=True, probe={})]
    assert errors(hosts=hosts) == []
    # It joined, by add-node: then it is one of them.
    joined = cluster(*NODES["nodes"], node("pi-05", "v1.36.9+k3s1"))
    assert "pi-05 has k3s v1.36.9+k3s1" in errors(hosts=hosts, nodes=joined)[0]


def test_pods_on_nodes_that_are_done_stop_nothing() -> None:
    nodes = cluster(node("pi-01", NEW), node("pi-02"), node("pi-03"), blockers=[{"node": "pi-01", "text": "x"}])
    assert errors(hosts=[host("pi-01", NEW), *HOSTS[1:]], nodes=nodes) == []


SUMS = "4" * 64 + "  k3s\n"


def test_a_release_without_the_asset_is_a_reason() -> None:
    assert k3s.k3s_sum_problem(SUMS, ["k3s"]) == ""
    assert "no line for k3s-arm64" in k3s.k3s_sum_problem(SUMS, ["k3s-arm64"])
    assert "not a line" in k3s.k3s_sum_problem("<html>", ["k3s"])
