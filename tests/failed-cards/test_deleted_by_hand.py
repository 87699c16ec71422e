"""site.yml creates again what was deleted by hand, with the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client
from kubernetes.stream import stream

from tests.support.cluster import connect, kubernetes_api
from tests.support.plays import FAST, Plays
from tests.support.watch import NAMESPACE, core, ready_nodes, running_on, wait_until

SITE = ("site.yml", *FAST)


def delete_secrets() -> None:
    core().delete_collection_namespaced_secret(NAMESPACE)
    core().delete_namespaced_secret("pi-03.node-password.k3s", "kube-system")


def delete_jobs_and_deployments() -> None:
    api = kubernetes_api()
    client.BatchV1Api(api).delete_collection_namespaced_job(NAMESPACE, propagation_policy="Background")
    client.AppsV1Api(api).delete_collection_namespaced_deployment(NAMESPACE)


def remove_labels() -> None:
    for node in ("pi-02", "pi-03"):
        core().patch_node(node, {"metadata": {"labels": {"role": None}}})


def delete_volume_in_use() -> None:
    """Its finalizer keeps it for as long as the claim is bound."""
    core().delete_persistent_volume("nfs")


def delete_claim_in_use() -> None:
    core().delete_namespaced_persistent_volume_claim("nfs", NAMESPACE)


DELETIONS: dict[str, tuple[Callable[[], Any], ...]] = {
    "namespace and Node": (lambda: core().delete_namespace(NAMESPACE), lambda: core().delete_node("pi-02")),
    "Node of the server": (lambda: core().delete_node("pi-01"),),
    "volume in use, labels, Secrets": (delete_volume_in_use, remove_labels, delete_secrets),
    "claim in use, Jobs, Deployments": (delete_claim_in_use, delete_jobs_and_deployments),
}


def answers_from(board: str, node: str) -> bool:
    """Whether Jupyter on a node answers a board, so that the board has a route to the node's pods."""
    pods = core().list_namespaced_pod(NAMESPACE, field_selector=f"spec.nodeName={node}").items
    (pod,) = [pod for pod in pods if pod.metadata.name in running_on(node)]
    url = f"http://{pod.status.pod_ip}:8888{pod.spec.containers[0].readiness_probe.http_get.path}"
    return bool(connect(board).run("curl --fail --silent --max-time 10 %s", url).rc == 0)


@pytest.mark.parametrize("deletions", DELETIONS.values(), ids=DELETIONS.keys())
def test_site_creates_again_what_was_deleted(plays: Plays, deletions: tuple[Callable[[], Any], ...]) -> None:
    server = connect("pi-01")
    data = server.file("/srv/books/weights/fast/model.weights.h5").sha256sum
    client.AppsV1Api(kubernetes_api()).delete_namespaced_daemon_set("reader", NAMESPACE)
    for delete in deletions:
        delete()
    plays.run("site after deletions", *SITE)
    assert ready_nodes() == dict.fromkeys(("pi-01", "pi-02", "pi-03", "pi-05"), True)
    assert core().read_node("pi-02").metadata.labels["role"] == "training"
    assert core().read_node("pi-03").metadata.labels["role"] == "prediction"
    assert server.file("/srv/books/weights/fast/model.weights.h5").sha256sum == data
    wait_until("Jupyter answers from another board", 120, lambda: answers_from("pi-01", "pi-02"))
    (name,) = running_on("pi-02")
    listed = stream(
        core().connect_get_namespaced_pod_exec, name, NAMESPACE, command=["ls", "/books/weights/fast"], stdout=True
    )
    assert "model.weights.h5" in listed
    step = plays.run("site again", *SITE)
    assert not step.changed_hosts(), step.changed
