"""What a notebook reaches, and what it does not: tried from pods, against the same ways from a pod without policies."""

from __future__ import annotations

import secrets
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client
from kubernetes.stream import stream

from lab import settings
from tests.support.cluster import IN_LAB, Cluster
from tests.support.watch import NAMESPACE, wait_until

#: Outside of all private networks, and for documentation alone (RFC 5737): the lab's gateway has it behind itself.
INTERNET, GATEWAY_END = "198.51.100.2", "198.51.100.1"
#: Prints those of the addresses to which a connection is made within two seconds.
PROBE = """
import concurrent.futures, socket, sys
def way(target):
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 2).close()
    except OSError:
        return ""
    return target
with concurrent.futures.ThreadPoolExecutor(32) as each:
    print(*filter(None, each.map(way, sys.argv[1:])))
"""
#: A pod that waits, and answers meanwhile on the port that Jupyter has.
WAITS = ["python", "-m", "http.server", "8888"]


@pytest.fixture(scope="module")
def jupyters(core: client.CoreV1Api) -> list[Any]:
    """The pods of the two Jupyters, of which the first is on the board that trains."""
    return [
        core.list_namespaced_pod(NAMESPACE, label_selector=f"app={role}-instance").items[0]
        for role in ("training", "prediction")
    ]


@pytest.fixture(scope="module")
def internet() -> Iterator[list[str]]:
    """A server beyond the boards' gateway. On boards of one's own there is none that a test may ask."""
    if not IN_LAB:
        yield []
        return
    name = f"far-{settings.load().name}"
    inside = ["ip", "-n", name]
    far = ["ip", "netns", "exec", name, "python3", "-m", "http.server", "-d", "/nonexistent", "80"]
    try:
        for command in (
            ["ip", "netns", "add", name],
            ["ip", "link", "add", name, "type", "veth", "peer", "name", "far", "netns", name],
            ["ip", "address", "add", f"{GATEWAY_END}/30", "dev", name],
            ["ip", "link", "set", name, "up"],
            [*inside, "address", "add", f"{INTERNET}/30", "dev", "far"],
            [*inside, "link", "set", "far", "up"],
        ):
            subprocess.run(command, check=True)
        with subprocess.Popen(far, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
            wait_until("a server beyond the gateway", 20, listens)
            yield [f"{INTERNET}:80"]
            server.kill()
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False)


def listens() -> bool:
    with socket.create_connection((INTERNET, 80), 2):
        return True


@pytest.fixture(scope="module")
def pods(core: client.CoreV1Api, jupyters: list[Any]) -> Iterator[dict[str, Any]]:
    """Two pods on the board that trains: one as a Job has it, one in a namespace without policies."""
    namespace = f"containment-{secrets.token_hex(4)}"
    core.create_namespace({"metadata": {"name": namespace}})
    places = {"job": NAMESPACE, "free": namespace}
    try:
        for name, place in places.items():
            core.create_namespaced_pod(place, waiting_pod(f"containment-{name}", jupyters[0]))

        def started() -> dict[str, Any]:
            found = {name: core.read_namespaced_pod(f"containment-{name}", place) for name, place in places.items()}
            return found if all(pod.status.phase == "Running" for pod in found.values()) else {}

        wait_until("pods that wait", 90, started)
        yield started()
    finally:
        core.delete_namespaced_pod("containment-job", NAMESPACE, grace_period_seconds=0)
        core.delete_namespace(namespace)


def waiting_pod(name: str, like: Any) -> dict[str, Any]:
    """A pod on the board of another one, with its image."""
    container = {
        "name": "main",
        "image": like.spec.containers[0].image,
        "command": WAITS,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    return {
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": name}},
        "spec": {
            "nodeName": like.spec.node_name,
            "automountServiceAccountToken": False,
            "restartPolicy": "Never",
            "securityContext": security,
            "containers": [container],
        },
    }


def reached(core: client.CoreV1Api, pod: Any, targets: list[str]) -> set[str]:
    """Those of the addresses that a pod can connect to."""
    said = stream(
        core.connect_get_namespaced_pod_exec,
        pod.metadata.name,
        pod.metadata.namespace,
        command=["python", "-c", PROBE, *targets],
        stdout=True,
        stderr=True,
        stdin=False,
        tty=False,
        _request_timeout=60,
    )
    return set(said.split())


@pytest.fixture(scope="module")
def forbidden(core: client.CoreV1Api, cluster: Cluster, jupyters: list[Any]) -> dict[str, str]:
    """What notebooks must not reach, by address; all of it is there."""
    server, nfs = cluster.hosts("k3s_servers")[0], cluster.hosts("nfs_servers")[0]
    found = {
        f"{cluster.address(server)}:6443": "the API",
        f"{core.read_namespaced_service('kubernetes', 'default').spec.cluster_ip}:443": "the API's Service",
        f"{cluster.address(nfs)}:2049": "NFS",
        f"{jupyters[1].status.pod_ip}:8888": "another Jupyter",
        f"{core.read_namespaced_service('prediction-instance', NAMESPACE).spec.cluster_ip}:8888": "its Service",
    }
    for name in cluster.hosts("cluster"):
        address = cluster.address(name)
        found |= {f"{address}:22": f"ssh of {name}", f"{address}:10250": f"kubelet of {name}", f"{address}:30000": name}
    if IN_LAB:
        lab = settings.load()
        found[f"{lab.gateway}:{lab.mirror_port}"] = "a machine of the boards' network"
    return found


@pytest.fixture(scope="module")
def allowed(core: client.CoreV1Api, internet: list[str]) -> set[str]:
    """Names are found by the cluster's DNS: kube-dns is one, and so is its port."""
    return {"kube-dns.kube-system.svc.cluster.local:53", *internet}


def test_all_of_it_is_there_for_a_pod_without_policies(
    core: client.CoreV1Api, pods: dict[str, Any], forbidden: dict[str, str], allowed: set[str]
) -> None:
    assert reached(core, pods["free"], [*forbidden, *allowed]) == {*forbidden, *allowed}


def test_a_jupyter_reaches_names_and_the_internet_alone(
    core: client.CoreV1Api, jupyters: list[Any], forbidden: dict[str, str], allowed: set[str]
) -> None:
    found = reached(core, jupyters[0], [*forbidden, *allowed])
    assert {forbidden[each] for each in found - allowed} == set()
    assert found == allowed


def test_a_job_reaches_no_more_than_a_jupyter(
    core: client.CoreV1Api, pods: dict[str, Any], jupyters: list[Any], forbidden: dict[str, str], allowed: set[str]
) -> None:
    """It has just been started: until its board has seen it, it is not contained."""
    targets = [*forbidden, *allowed, f"{jupyters[0].status.pod_ip}:8888"]
    wait_until("a new pod is contained", 30, lambda: reached(core, pods["job"], targets) == allowed)


def test_a_job_is_not_reached_and_a_jupyter_is_on_its_port(
    boards: dict[str, Any], core: client.CoreV1Api, pods: dict[str, Any], jupyters: list[Any]
) -> None:
    """Boards pass on what came to a node port, with an address of their own."""
    job, jupyter = (f"{pod.status.pod_ip}:8888" for pod in (pods["job"], jupyters[0]))
    for pod in (pods["free"], jupyters[1]):
        assert job not in reached(core, pod, [job])
    for name, board in boards.items():
        found = set(board.check_output("python3 -c %s %s %s", PROBE, job, jupyter).split())
        # A board always reaches its own pods: kubelet asks them how they are.
        assert found == ({job, jupyter} if name == jupyters[0].spec.node_name else {jupyter}), name


def test_a_container_without_limits_gets_some(pods: dict[str, Any]) -> None:
    assert pods["job"].spec.containers[0].resources.limits == {"memory": "512Mi"}


def test_policies_are_enforced_on_every_board(board: Any) -> None:
    rules = board.check_output("iptables-save -t filter")
    assert "-A FORWARD" in rules and "-j KUBE-ROUTER-FORWARD" in rules
