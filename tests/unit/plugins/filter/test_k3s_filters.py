"""The pure parts of the k3s role: sum files, versions, tokens, kubeconfig, and what is left to do on a node."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.edge_ai.cluster.plugins.filter import k3s

# Order and names of a real sha256sum-amd64.txt: three archives that begin with k3s, then the binary.
SUMS = "".join(
    f"{digit * 64}  {name}\n"
    for digit, name in [
        ("1", "k3s-airgap-images-amd64.tar"),
        ("2", "k3s-airgap-images-amd64.tar.gz"),
        ("3", "k3s-airgap-images-amd64.tar.zst"),
        ("4", "k3s"),
    ]
)


@pytest.mark.parametrize(
    ("asset", "digit"),
    [("k3s", "4"), ("k3s-airgap-images-amd64.tar", "1"), ("k3s-airgap-images-amd64.tar.zst", "3")],
)
def test_sum_is_that_of_exactly_this_asset(asset: str, digit: str) -> None:
    assert k3s.k3s_sum(SUMS, asset) == digit * 64


def test_sum_of_the_binary_is_never_that_of_an_archive() -> None:
    without = "\n".join(SUMS.splitlines()[:3])
    with pytest.raises(AnsibleFilterError, match=r"no line for k3s; it has: k3s-airgap-images-amd64\.tar, "):
        k3s.k3s_sum(without, "k3s")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("<html>404</html>", "not a line of a sha256sum file"),
        ("4" * 63 + "  k3s\n", "not a line of a sha256sum file"),
        ("4" * 64 + "  k3s\n" + "5" * 64 + "  k3s\n", "two different digests of k3s"),
        ("", "it has: none"),
    ],
)
def test_what_is_no_sum_file_is_said(text: str, error: str) -> None:
    with pytest.raises(AnsibleFilterError, match=error):
        k3s.k3s_sum(text, "k3s")


@pytest.mark.parametrize(
    ("wanted", "installed", "older"),
    [
        ("v1.36.4+k3s1", "v1.36.10+k3s1", True),
        ("v1.36.10+k3s1", "v1.36.9+k3s2", False),
        ("v1.36.4+k3s1", "v1.36.4+k3s2", True),
        ("v1.36.4-rc1+k3s1", "v1.36.4+k3s1", True),
        ("v1.36.4+k3s1", "v1.36.4-rc2+k3s1", False),
        ("v1.36.4+k3s1", "v1.36.4+k3s1", False),
        ("v1.36.4+k3s1", None, False),
        ("v1.36.4+k3s1", "dev", False),
    ],
)
def test_downgrades_are_seen(wanted: str, installed: str | None, older: bool) -> None:
    assert k3s.k3s_is_downgrade(wanted, installed) is older


K3S_YAML = """\
apiVersion: v1
clusters:
- cluster: {certificate-authority-data: Q0E=, server: https://127.0.0.1:6443}
  name: default
contexts:
- context: {cluster: default, user: default}
  name: default
current-context: default
kind: Config
users:
- name: default
  user: {client-certificate-data: Q0VSVA==, client-key-data: S0VZ}
"""


def test_kubeconfig_is_for_use_elsewhere() -> None:
    text = k3s.k3s_kubeconfig(K3S_YAML, "https://10.77.0.11:6443", "lab")
    config = yaml.safe_load(text)
    assert config["current-context"] == "lab"
    assert config["contexts"] == [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}]
    assert config["clusters"] == [
        {"name": "lab", "cluster": {"certificate-authority-data": "Q0E=", "server": "https://10.77.0.11:6443"}}
    ]
    assert config["users"][0]["user"] == {"client-certificate-data": "Q0VSVA==", "client-key-data": "S0VZ"}
    assert "127.0.0.1" not in text


def test_kubeconfig_tells_when_its_source_or_its_address_changed() -> None:
    def mark(text: str, server: str = "https://10.77.0.11:6443") -> str:
        return str(k3s.k3s_kubeconfig(text, server, "lab")).splitlines()[0]

    assert mark(K3S_YAML) == mark(K3S_YAML)
    assert mark(K3S_YAML) != mark(K3S_YAML.replace("S0VZ", "TkVX"))
    assert mark(K3S_YAML) != mark(K3S_YAML, "https://10.77.0.12:6443")


def test_a_file_that_is_no_kubeconfig_is_said() -> None:
    with pytest.raises(AnsibleFilterError, match="not a kubeconfig"):
        k3s.k3s_kubeconfig("clusters: []\n", "https://10.77.0.11:6443", "lab")


WANTED = {
    "binary": "b" * 64,
    "archive": "a" * 64,
    "files": [{"dest": "/etc/rancher/k3s/config.yaml", "sha256": "c" * 64, "mode": "0600"}],
    "version": "v1.36.4+k3s1",
}


def report(**changes: Any) -> dict[str, Any]:
    return {
        "binary": {"sha256": "b" * 64, "version": "v1.36.4+k3s1"},
        "archive": "a" * 64,
        "files": {"/etc/rancher/k3s/config.yaml": {"sha256": "c" * 64, "mode": "0600"}},
        "secrets": {"token": {"current": True, "mode": "0600"}},
        "outdated": [],
        "service": {"active": "active", "enabled": True},
        "api": True,
        "node": {"ready": True, "version": "v1.36.4+k3s1"},
    } | changes


def test_nothing_is_left_to_do_on_a_finished_node() -> None:
    assert k3s.k3s_pending(report(), WANTED) == []


@pytest.mark.parametrize(
    ("changes", "pending"),
    [
        ({"binary": {"sha256": None, "version": None}}, ["binary"]),
        ({"archive": None}, ["archive"]),
        (
            {"files": {"/etc/rancher/k3s/config.yaml": {"sha256": "c" * 64, "mode": "0644"}}},
            ["/etc/rancher/k3s/config.yaml"],
        ),
        ({"secrets": {"token": {"current": True, "mode": "0644"}}}, ["token"]),
        # The run before was killed after it had copied and before it had restarted.
        ({"outdated": ["/usr/local/bin/k3s"]}, ["restart"]),
        ({"service": {"active": "inactive", "enabled": True}}, ["start"]),
        ({"service": {"active": "active", "enabled": False}}, ["start"]),
        # An agent with a wrong token hangs here for ever.
        ({"service": {"active": "activating", "enabled": True}, "api": False}, ["start"]),
        ({"node": {"ready": False, "version": "v1.36.4+k3s1"}}, ["ready"]),
        ({"node": {"ready": True, "version": "v1.36.3+k3s1"}}, ["ready"]),
    ],
)
def test_each_difference_is_named(changes: dict[str, Any], pending: list[str]) -> None:
    assert k3s.k3s_pending(report(**changes), WANTED) == pending


def test_no_archive_is_wanted_without_airgap() -> None:
    assert k3s.k3s_pending(report(archive=None), {**WANTED, "archive": ""}) == []
