"""The cluster and its workload, seen through the API and from outside."""

from __future__ import annotations

import http.cookiejar
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request

import pytest
from kubernetes import client

from tests.support.cluster import CLUSTER, Cluster

NAMESPACE = "edge-ai"
PORTS = {"training": 30000, "prediction": 30001}


def address(cluster: Cluster, node: str, role: str) -> str:
    """Where a board has the Jupyter of a role on a port of its own."""
    return f"https://{cluster.address(node)}:{PORTS[role]}"


def test_every_board_is_a_ready_node_of_the_wanted_version(core: client.CoreV1Api, cluster: Cluster) -> None:
    version = cluster.var("k3s_version", cluster.hosts("k3s_servers")[0])
    nodes = {node.metadata.name: node for node in core.list_node().items}
    assert sorted(nodes) == sorted(cluster.hosts("cluster"))
    for name, node in nodes.items():
        ready = {condition.type: condition.status for condition in node.status.conditions}
        assert ready["Ready"] == "True", name
        assert node.status.node_info.kubelet_version == version


def test_labels_are_those_of_the_groups(core: client.CoreV1Api, cluster: Cluster) -> None:
    roles = {node.metadata.name: node.metadata.labels.get("role") for node in core.list_node().items}
    for role in PORTS:
        assert sorted(name for name, value in roles.items() if value == role) == sorted(cluster.hosts(role))


def test_pods_run_where_they_belong(core: client.CoreV1Api, cluster: Cluster) -> None:
    for role in PORTS:
        pods = core.list_namespaced_pod(NAMESPACE, label_selector=f"app={role}-instance").items
        assert len(pods) == 1, role
        assert pods[0].spec.node_name in cluster.hosts(role)
        assert pods[0].status.phase == "Running"


def test_the_cluster_s_dns_is_not_lost_with_an_agent(core: client.CoreV1Api, cluster: Cluster) -> None:
    pods = core.list_namespaced_pod("kube-system", label_selector="k8s-app=kube-dns").items
    assert pods
    assert {pod.spec.node_name for pod in pods} <= set(cluster.hosts("k3s_servers"))


def test_pods_are_confined(core: client.CoreV1Api) -> None:
    for pod in core.list_namespaced_pod(NAMESPACE).items:
        assert pod.spec.automount_service_account_token is False, pod.metadata.name
        assert pod.spec.security_context.run_as_non_root is True
        assert pod.spec.security_context.seccomp_profile.type == "RuntimeDefault"
        for container in pod.spec.containers:
            assert container.security_context.allow_privilege_escalation is False
            assert container.security_context.capabilities.drop == ["ALL"]


def test_all_system_pods_run(core: client.CoreV1Api) -> None:
    phases = {pod.metadata.name: pod.status.phase for pod in core.list_namespaced_pod("kube-system").items}
    assert phases
    assert set(phases.values()) <= {"Running", "Succeeded"}, phases


class Browser:
    """A client with cookies, as a browser has, that trusts the cluster's CA and no other; never asks a proxy."""

    def __init__(self, cluster: Cluster) -> None:
        self.cookies = http.cookiejar.CookieJar()
        trusted = ssl.create_default_context(cafile=cluster.path("cluster_secrets_dir") / "ingress-ca.crt")
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=trusted),
            urllib.request.HTTPCookieProcessor(self.cookies),
        )

    def open(self, url: str, form: dict[str, str] | None = None) -> tuple[int, str, str]:
        """Status, final address and text of a page."""
        data = urllib.parse.urlencode(form).encode() if form else None
        try:
            with self.opener.open(url, data=data, timeout=30) as answer:
                return answer.status, answer.geturl(), answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            return error.code, url, error.read().decode(errors="replace")


@pytest.mark.parametrize("node", CLUSTER.hosts("cluster")[:3])
@pytest.mark.parametrize("role", PORTS)
def test_node_ports_answer_with_a_login_page_on_every_board(cluster: Cluster, role: str, node: str) -> None:
    status, arrived, page = Browser(cluster).open(f"{address(cluster, node, role)}/")
    assert status == 200
    assert arrived.startswith(f"{address(cluster, node, role)}/{role}/login")
    assert 'type="password"' in page


@pytest.mark.parametrize("role", PORTS)
def test_nothing_answers_by_plain_http(cluster: Cluster, role: str) -> None:
    status, _, page = Browser(cluster).open(
        address(cluster, cluster.hosts("cluster")[0], role).replace("https:", "http:")
    )
    assert status == 404
    assert "password" not in page


@pytest.mark.parametrize("role", PORTS)
def test_what_boards_forward_arrives_unchanged(cluster: Cluster, role: str) -> None:
    """A board that has not the pod forwards many packets of a large file, and must not change a byte of it."""
    base = {node: address(cluster, node, role) for node in cluster.hosts("cluster")[:3]}
    page = Browser(cluster).open(f"{next(iter(base.values()))}/{role}/login")[2]
    sheet = next(name for name in re.findall(r'href="([^"?]+[.]css)', page) if "bootstrap.min" in name)
    for _ in range(5):
        answers = {node: Browser(cluster).open(f"{url}{sheet}") for node, url in base.items()}
        assert {status for status, _, _ in answers.values()} == {200}
        texts = {text for _, _, text in answers.values()}
        assert len(texts) == 1, f"{sheet} differs from board to board"
        assert len(texts.pop()) > 100_000


def test_nothing_is_served_without_the_password(cluster: Cluster) -> None:
    url = f"{address(cluster, cluster.hosts('cluster')[-1], 'training')}/training/api/contents"
    assert Browser(cluster).open(url)[0] == 403


def test_the_generated_password_opens_the_shared_data(cluster: Cluster) -> None:
    base = f"{address(cluster, cluster.hosts('cluster')[-1], 'prediction')}/prediction"
    password = (cluster.path("cluster_secrets_dir") / "jupyter-password").read_text().strip()
    browser = Browser(cluster)
    browser.open(f"{base}/login")
    token = next(cookie.value for cookie in browser.cookies if cookie.name == "_xsrf")
    browser.open(f"{base}/login", {"password": password, "_xsrf": str(token)})
    status, _, listing = browser.open(f"{base}/api/contents")
    assert status == 200
    assert "notebooks" in listing
