"""Three servers with embedded etcd: any one of them may lose its power."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes import client

from tests.support.cluster import CLUSTER, connect, kubernetes_api
from tests.support.plays import lab
from tests.support.watch import core, ready_nodes, wait_until

SERVERS = CLUSTER.hosts("k3s_servers")


def endpoints(server: str) -> set[str]:
    """Addresses that the Service `kubernetes` has."""
    slices = client.DiscoveryV1Api(kubernetes_api(server)).list_namespaced_endpoint_slice(
        "default", label_selector="kubernetes.io/service-name=kubernetes", _request_timeout=10
    )
    return {address for each in slices.items for endpoint in each.endpoints or [] for address in endpoint.addresses}


@pytest.fixture(scope="module")
def pods() -> Any:
    """A pod on each server, of the one image that every node has from the release."""
    labels = {"app": "alive"}
    container = {"name": "pause", "image": pause_image(), "imagePullPolicy": "IfNotPresent"}
    pod = {"tolerations": [{"operator": "Exists"}], "terminationGracePeriodSeconds": 1, "containers": [container]}
    spec = {
        "metadata": {"name": "alive", "namespace": "default"},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }
    apps = client.AppsV1Api(kubernetes_api(SERVERS[0]))
    apps.create_namespaced_daemon_set("default", spec)
    wait_until("a pod on each server", 180, lambda: len(running(SERVERS[0])) == len(SERVERS))
    yield
    client.AppsV1Api(kubernetes_api(SERVERS[0])).delete_namespaced_daemon_set("alive", "default")


def pause_image() -> str:
    images = connect(SERVERS[0]).check_output("k3s ctr -n k8s.io images ls -q").split()
    return next(name for name in images if "pause" in name and "@" not in name)


def running(server: str) -> dict[str, str]:
    """Start time of the running pod on each node."""
    found = core(server).list_namespaced_pod("default", label_selector="app=alive", _request_timeout=10).items
    return {each.spec.node_name: str(each.status.start_time) for each in found if each.status.phase == "Running"}


def test_every_server_answers_and_is_ready() -> None:
    for server in SERVERS:
        assert ready_nodes(server) == dict.fromkeys(SERVERS, True)
    assert endpoints(SERVERS[0]) == {CLUSTER.address(server) for server in SERVERS}


def test_every_server_is_a_member_of_etcd() -> None:
    for server in SERVERS:
        assert connect(server).file("/var/lib/rancher/k3s/server/db/etcd").is_directory


def test_a_snapshot_can_be_taken() -> None:
    board = connect(SERVERS[0])
    board.check_output("k3s etcd-snapshot save --name tested")
    listed = board.check_output("k3s etcd-snapshot ls")
    assert "tested" in listed


@pytest.mark.parametrize("lost", SERVERS)
def test_any_server_may_lose_its_power(pods: None, lost: str) -> None:
    others = [server for server in SERVERS if server != lost]
    before = running(others[0])
    lab("power", "off", "--hard", lost)
    try:
        for server in others:
            wait_until(
                f"{server} answers without {lost}",
                90,
                lambda server=server: core(server).list_node(_request_timeout=10),
            )
        wait_until(f"{lost} is seen as not ready", 180, lambda: not ready_nodes(others[0])[lost])
        wait_until(f"{lost} has left the endpoints", 120, lambda: CLUSTER.address(lost) not in endpoints(others[0]))
        # Writes need a majority.
        name = f"written-without-{lost}"
        core(others[1]).create_namespaced_config_map("default", {"metadata": {"name": name}}, _request_timeout=30)
        now = running(others[0])
        assert {each: now[each] for each in others} == {each: before[each] for each in others}, "pods did not go on"
    finally:
        lab("power", "on", lost)
    wait_until(
        f"{lost} answers again",
        300,
        lambda: core(lost).read_namespaced_config_map(name, "default", _request_timeout=10),
    )
    wait_until(f"all are ready after {lost} came back", 240, lambda: ready_nodes(lost) == dict.fromkeys(SERVERS, True))
    wait_until(f"{lost} has its pod", 180, lambda: lost in running(lost))
