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


def test_kubeconfig_shows_when_its_source_or_its_address_changed() -> None:
    def mark(text: str, server: str = "https://10.77.0.11:6443") -> str:
        return str(k3s.k3s_kubeconfig(text, server, "lab")).splitlines()[0]

    assert mark(K3S_YAML) == mark(K3S_YAML)
    assert mark(K3S_YAML) != mark(K3S_YAML.replace("S0VZ", "TkVX"))
    assert mark(K3S_YAML) != mark(K3S_YAML, "https://10.77.0.12:6443")


def test_a_kubeconfig_names_nothing_that_its_reader_would_start_or_send() -> None:
    config = yaml.safe_load(K3S_YAML)
    config["users"][0]["user"] |= {
        "exec": {"command": "sh"},
        "tokenFile": "/etc/shadow",
        "auth-provider": {"name": "x"},
    }
    config["clusters"][0]["cluster"] |= {"proxy-url": "http://192.0.2.1", "insecure-skip-tls-verify": True}
    text, plain = (
        k3s.k3s_kubeconfig(each, "https://10.77.0.11:6443", "lab").partition("\n")[2]
        for each in (yaml.safe_dump(config), K3S_YAML)
    )
    assert text == plain
    del config["users"][0]["user"]["client-key-data"]
    with pytest.raises(AnsibleFilterError, match="not a kubeconfig: KeyError"):
        k3s.k3s_kubeconfig(yaml.safe_dump(config), "https://10.77.0.11:6443", "lab")


#: Its text would have 9 to the power of 9 words.
ALIASES = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))


@pytest.mark.parametrize(
    "text",
    [
        "clusters: []\n",
        "clusters: [\n",
        ALIASES + "clusters: [{cluster: {certificate-authority-data: *a9}}]\nusers: [{user: {}}]\n",
    ],
    ids=["empty", "not-yaml", "aliases"],
)
def test_a_file_that_is_no_kubeconfig_is_said(text: str) -> None:
    with pytest.raises(AnsibleFilterError, match="not a kubeconfig"):
        k3s.k3s_kubeconfig(text, "https://10.77.0.11:6443", "lab")


WANTED = {
    "binary": "b" * 64,
    "archive": "a" * 64,
    "files": [{"dest": "/etc/rancher/k3s/config.yaml", "sha256": "c" * 64, "mode": "0600"}],
    "version": "v1.36.4+k3s1",
    "certificate_days": 90,
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
        "node": {"ready": True, "version": "v1.36.4+k3s1", "registered": True},
        "certificates": {"ends": "2027-11-26", "days": 365, "file": "client-admin.crt", "renewable": True},
        "pods": [],
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
        ({"certificates": {"days": 89, "renewable": True}}, ["certificates"]),
        ({"certificates": {"days": -30, "renewable": True}}, ["certificates"]),
        ({"certificates": {"days": 90, "renewable": True}}, []),
        # k3s was started since, and did not renew it: another start would not either.
        ({"certificates": {"days": -30, "renewable": False}}, []),
        ({"certificates": None}, []),
        ({"service": {"active": "inactive", "enabled": True}}, ["start"]),
        ({"service": {"active": "active", "enabled": False}}, ["start"]),
        # An agent with a wrong token hangs here indefinitely.
        ({"service": {"active": "activating", "enabled": True}, "api": False}, ["start"]),
        ({"node": {"ready": False, "version": "v1.36.4+k3s1", "registered": True}}, ["ready"]),
        ({"node": {"ready": True, "version": "v1.36.3+k3s1", "registered": True}}, ["ready"]),
        # Its Node was deleted by hand: waiting does not bring it back.
        ({"api": False, "node": {"ready": False, "version": None, "registered": False}}, ["registration"]),
        ({"pods": ["cni0 has an address of another network"]}, ["pods"]),
    ],
)
def test_each_difference_is_named(changes: dict[str, Any], pending: list[str]) -> None:
    assert k3s.k3s_pending(report(**changes), WANTED) == pending


def test_no_archive_is_wanted_without_airgap() -> None:
    assert k3s.k3s_pending(report(archive=None), {**WANTED, "archive": ""}) == []


BLANK = {"cluster_token": "absent", "encryption": False}
PLAIN = {"cluster_token": "same", "encryption": False}
ENCRYPTED = {"cluster_token": "same", "encryption": True}
# Prepared by `k3s secrets-encrypt enable`, or k3s was killed in its first start.
PREPARED = {"cluster_token": "absent", "encryption": True}
UNREACHABLE = {"unreachable": True, "msg": "no route"}


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize(
    ("own", "others", "encrypted"),
    [
        pytest.param({}, [], None, id="nothing is known before the probe"),
        pytest.param(BLANK, [], None, id="a new cluster does as is wanted"),
        pytest.param(BLANK, [BLANK, UNREACHABLE], None, id="a new cluster of several"),
        pytest.param(PLAIN, [], False, id="a running cluster is never changed"),
        pytest.param(ENCRYPTED, [], True, id="nor does it lose its key"),
        pytest.param(PREPARED, [], True, id="a key that was made is used"),
        pytest.param(BLANK, [UNREACHABLE, PLAIN], False, id="a blank server does as the others"),
        pytest.param(BLANK, [BLANK, ENCRYPTED], True, id="whichever of them has the cluster"),
        pytest.param(PLAIN, [ENCRYPTED], False, id="its own disk comes first"),
    ],
)
def test_secrets_are_encrypted_as_the_cluster_was_created(
    own: dict[str, Any], others: list[dict[str, Any]], encrypted: bool | None, wanted: bool
) -> None:
    assert k3s.k3s_encrypts(own, others, wanted) is (wanted if encrypted is None else encrypted)


def test_errors_of_keys_versions_and_servers_are_one_line_each() -> None:
    assert k3s.k3s_config_errors({"tls-sans": ["a"], "debug": "yes"}, "server", "v1.36.4+k3s1") == [
        "tls-sans: k3s has no such key; did you mean tls-san?",
        "debug: not true or false; write true or false, without quotes",
    ]
    assert k3s.k3s_version_error("v1.36.4+k3s1") == "" and "write it as" in k3s.k3s_version_error("stable")
    assert k3s.k3s_servers_error(3) == "" and "majority" in k3s.k3s_servers_error(4)


def test_a_key_of_the_inventory_replaces_that_of_the_role() -> None:
    assert k3s.k3s_config({"debug": False, "v": 1}, {"debug": True}) == {"debug": True, "v": 1}
