"""metrics-server, which k3s brings and this project leaves out: a cluster that wants it gets it, and loses it again.

pytest tests/ingress/test_metrics_server.py --begin=finished
"""

from __future__ import annotations

import re

from kubernetes import client

from tests.support.cluster import CLUSTER, connect, kubernetes_api
from tests.support.plays import FAST, Plays
from tests.support.watch import wait_until

SERVER = CLUSTER.hosts("k3s_servers")[0]
BOARDS = CLUSTER.hosts("k3s_servers") + CLUSTER.hosts("k3s_agents")
TO_A_CLUSTER = (*FAST, "--tags", "cluster")
WITH = ("-e", '\'{"k3s_disable": ["local-storage"]}\'')
MANIFESTS = "/var/lib/rancher/k3s/server/manifests"


def top() -> dict[str, tuple[int, int]]:
    """Thousandths of a processor and MiB that each board uses, by `kubectl top nodes`; empty while it fails."""
    said = connect(SERVER).run("k3s kubectl top nodes --no-headers").stdout
    found = re.findall(r"^(\S+) +(\d+)m +\S+ +(\d+)Mi ", said, re.MULTILINE)
    return {node: (int(processor), int(memory)) for node, processor, memory in found}


def services() -> set[str]:
    """Names of the APIs that another server than the API server may answer."""
    found = client.ApiregistrationV1Api(kubernetes_api()).list_api_service(_request_timeout=10).items
    return {each.metadata.name for each in found}


def test_01_kubectl_top_has_figures_for_every_board(plays: Plays) -> None:
    assert "v1beta1.metrics.k8s.io" not in services()
    plays.run("metrics-server", "site.yml", *TO_A_CLUSTER, *WITH)
    assert not plays.run("metrics-server, again", "site.yml", *TO_A_CLUSTER, *WITH).changed_hosts()
    # It starts in half a minute, and a processor's use is the difference of two values that are 15 s apart.
    wait_until("figures for every board", 180, lambda: set(top()) == set(BOARDS))
    figures = top()
    print(figures)
    assert all(processor > 0 and memory > 100 for processor, memory in figures.values())
    pods = connect(SERVER).check_output("k3s kubectl top pods -n kube-system --no-headers")
    assert "metrics-server-" in pods


def test_02_nothing_of_it_is_left(plays: Plays) -> None:
    plays.run("no metrics-server", "site.yml", *TO_A_CLUSTER)
    assert "v1beta1.metrics.k8s.io" not in services()
    assert not list(connect(SERVER).file(f"{MANIFESTS}/metrics-server").listdir())
    apps = client.AppsV1Api(kubernetes_api())
    names = [each.metadata.name for each in apps.list_namespaced_deployment("kube-system").items]
    assert "metrics-server" not in names
    roles = client.RbacAuthorizationV1Api(kubernetes_api()).list_cluster_role().items
    assert not {"system:metrics-server", "system:aggregated-metrics-reader"} & {each.metadata.name for each in roles}
    assert not plays.run("no metrics-server, again", "site.yml", *TO_A_CLUSTER).changed_hosts()
