"""What check.yml calls a problem of the cluster, by answers of an API."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.action import cluster_check_objects as action
from ansible_collections.edge_ai.cluster.plugins.module_utils import cluster_check
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube import objects as kube_objects
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.objects import Objects
from kubernetes import client
from urllib3.exceptions import HTTPError

from tests.support.api import APPS, CORE, SYSTEM, Api, deployment, node, pod, ready, serving

NOW = 1_800_000_000.0
NOW_STAMP, LONG_AGO = "2027-01-15T08:00:00Z", "2027-01-15T07:30:00Z"


def restarted(count: int, code: int, finished: str) -> dict[str, Any]:
    last = {"terminated": {"exitCode": code, "finishedAt": finished}}
    return ready() | {"containerStatuses": [{"name": "c", "restartCount": count, "lastState": last}]}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (node("pi-01"), None),
        (node("pi-01", ready(DiskPressure="False")), None),
        (node("pi-01", ready("Unknown")), "Node pi-01 is not Ready"),
        (node("pi-01", unschedulable=True), "Node pi-01 takes no pods"),
        (node("pi-01", ready(DiskPressure="True")), "Node pi-01 has DiskPressure"),
        (node("pi-02"), "pi-01 is not a Node of the cluster"),
    ],
)
def test_nodes(given: dict[str, Any], words: str | None) -> None:
    found = cluster_check.node_problems([given], ["pi-01"])
    assert (found and words and found[0].startswith(words)) if words else not found


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (pod(ready()), None),
        (pod({"phase": "Succeeded"}), None),
        (pod(ready("False") | {"phase": "Running"}), "is not ready (Running)"),
        (pod({"phase": "Pending"}), "is not ready (Pending)"),
        # Ready between two ends.
        (pod(restarted(7, 1, NOW_STAMP)), "was started 7 times again"),
        (pod(restarted(3, 137, NOW_STAMP)), "was started 3 times again"),
        (pod(restarted(7, 1, LONG_AGO)), None),
        (pod(restarted(2, 1, NOW_STAMP)), None),
        (pod(restarted(7, 255, NOW_STAMP)), None),
        (pod(ready(), deletionTimestamp=NOW_STAMP), None),
        (pod(ready(), deletionTimestamp=LONG_AGO), "on no board does not end"),
    ],
)
def test_pods(given: dict[str, Any], words: str | None) -> None:
    found = cluster_check.pod_problems([given], NOW)
    assert (found and words in found[0]) if words else not found


@pytest.mark.parametrize(
    ("wanted", "made", "words"),
    [(1, 1, None), (2, 2, None), (0, 0, "is scaled to 0"), (2, 1, "has 1 of 2 pods"), (1, 0, "has 0 of 1 pods")],
)
def test_deployments_without_pods_are_seen(wanted: int, made: int, words: str | None) -> None:
    found = cluster_check.owner_problems([deployment("a", wanted, made)])
    assert (found and words in found[0]) if words else not found


def test_a_jupyter_is_found_by_its_probe() -> None:
    ports = [{"metadata": {"name": "b"}, "spec": {"type": "NodePort", "ports": [{"nodePort": 30000}]}}]
    given = [deployment("a", probe="/training/login"), deployment("b"), deployment("c", probe="/healthz")]
    assert cluster_check.jupyters(given, ports, "10.0.0.1", True) == [
        "https://10.0.0.1/training",
        "http://10.0.0.1:30000",
    ]
    assert cluster_check.jupyters(given, ports, "10.0.0.1", False) == ["http://10.0.0.1:30000"]


DAEMONS = "/apis/apps/v1/namespaces/kube-system/daemonsets"


def inspect(api: Api, packaged: str = "coredns") -> dict[str, Any]:
    configuration = client.Configuration()
    configuration.host = api.url
    task = {"namespace": "edge-ai", "record": "manifests-applied", "boards": ["pi-01"], "server": "10.0.0.1"}
    with client.ApiClient(configuration) as connection:
        return action.inspect(Objects(connection), task | {"ingress": True, "packaged": [packaged]})


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as found:
        yield found


def test_all_is_well_and_no_secret_is_read(api: Api) -> None:
    assert inspect(api) == {"nodes": 1, "jupyters": ["https://10.0.0.1"], "problems": []}
    assert "PartialObjectMetadata" in api.asked[f"{CORE}/secrets"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (f"{CORE}/secrets", "Secret edge-ai/jupyter-password-x was deleted: run ansible-playbook site.yml"),
        (f"{APPS}/deployments", "Deployment edge-ai/jupyter was deleted"),
        # With the kind, all objects of it.
        ("/apis/traefik.io/v1alpha1", "IngressRoute edge-ai/jupyter was deleted"),
    ],
)
def test_what_was_deleted_is_missed(api: Api, path: str, words: str) -> None:
    del api.answers[path]
    (problem,) = inspect(api)["problems"]
    assert problem.startswith(words)


def test_a_cluster_without_the_namespace_is_not_well(api: Api) -> None:
    api.answers = {path: answer for path, answer in api.answers.items() if "/edge-ai/" not in path}
    (problem,) = inspect(api)["problems"]
    assert problem.startswith("namespace edge-ai has nothing that site.yml makes")


def test_what_k3s_brings_along_is_missed(api: Api) -> None:
    api.answers[SYSTEM] = {"items": []}
    (problem,) = inspect(api)["problems"]
    assert problem.startswith("coredns in kube-system was deleted: systemctl restart k3s on a server")


def test_traefik_may_have_a_pod_on_each_server(api: Api) -> None:
    daemons = {"metadata": {"namespace": "kube-system", "name": "traefik"}}
    counts = {"desiredNumberScheduled": 3, "currentNumberScheduled": 3}
    api.answers[DAEMONS] = {"items": [daemons | {"status": counts}]}
    assert inspect(api, packaged="traefik")["problems"] == []
    api.answers[DAEMONS] = {"items": [daemons | {"status": counts | {"currentNumberScheduled": 2}}]}
    (problem,) = inspect(api, packaged="traefik")["problems"]
    assert problem.startswith("DaemonSet kube-system/traefik has 2 of 3 pods: kubectl -n kube-system get events")


def test_a_claim_without_a_volume_is_a_problem(api: Api) -> None:
    api.answers[f"{CORE}/persistentvolumeclaims"] = {"items": [pod({"phase": "Lost"})]}
    assert inspect(api)["problems"] == ["claim edge-ai/a is Lost: run ansible-playbook site.yml"]


def test_an_api_that_accepts_and_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_objects, "REQUEST", (1, 1))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        configuration = client.Configuration()
        configuration.host = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with client.ApiClient(configuration) as api, pytest.raises(HTTPError):
            Objects(api).get("/api/v1/nodes")
