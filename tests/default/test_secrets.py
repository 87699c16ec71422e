"""Secrets are 0600 wherever they lie, and nowhere else."""

from __future__ import annotations

import base64
import json
import ssl
import stat
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.support import secrets
from tests.support.cluster import Cluster


def test_secrets_on_the_control_node_are_for_their_owner_only(cluster: Cluster) -> None:
    directory = cluster.path("cluster_secrets_dir")
    public = {".pub", ".crt"}
    wide = [
        str(path)
        for path in [directory, *directory.rglob("*")]
        if path.suffix not in public and path.name != "known_hosts" and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    assert wide == []


def test_secrets_on_boards_are_for_root_only(board: Any) -> None:
    listed = board.run(
        "find /etc/rancher /var/lib/rancher/k3s/server -xdev -type f "
        r"\( -name '*token*' -o -name config.yaml -o -name k3s.yaml -o -name '*.key' -o -name password \) "
        "-perm /077"
    )
    assert listed.stdout == ""


def test_secrets_are_in_no_journal_log_process_or_environment() -> None:
    # Those of the Ingress, of backups and of the hub are there when there is one.
    always = {each for each in secrets.NAMES if not each.startswith(("ingress", "backup", "hub"))}
    assert always <= set(secrets.secrets())
    assert secrets.on_boards() == []


def test_an_agent_s_card_holds_no_key_to_the_cluster(boards: dict[str, Any], cluster: Cluster) -> None:
    server = secrets.secrets()["k3s-token"]
    for name in cluster.hosts("k3s_agents"):
        found = boards[name].run(
            "find /etc /var/lib/rancher/k3s -xdev -type f -size -1024k -not -path '*/containerd/*' -exec cat {} + "
            "| tr -cd '[:print:]\\n'"
        )
        text = found.stdout
        assert "K10" in text
        assert server not in text, name


def test_a_node_s_credential_reads_no_secrets_but_those_of_its_pods(
    boards: dict[str, Any], cluster: Cluster, core: Any, tmp_path: Path
) -> None:
    """What kubelet may ask for with the key on an agent's card: tokens of its pods' service accounts."""
    api = f"https://{cluster.address(cluster.hosts('k3s_servers')[0])}:6443"

    def ask(context: ssl.SSLContext, path: str, body: Any = None, token: str = "") -> tuple[int, dict[str, Any]]:
        asked = urllib.request.Request(f"{api}{path}", data=json.dumps(body).encode() if body else None)
        asked.add_header("Content-Type", "application/json")
        if token:
            asked.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(asked, context=context, timeout=20) as answer:
                return int(answer.status), json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, {}

    everything = ("/api/v1/secrets", "/api/v1/namespaces/kube-system/secrets", "/api/v1/namespaces/edge-ai/secrets")
    for name in cluster.hosts("k3s_agents"):
        pair = tmp_path / name
        pair.touch(mode=0o600)
        files = (f"/var/lib/rancher/k3s/agent/client-kubelet.{end}" for end in ("crt", "key"))
        pair.write_text("\n".join(boards[name].file(file).content_string for file in files))
        node = ssl._create_unverified_context()
        node.load_cert_chain(pair)
        assert ask(node, f"/api/v1/nodes/{name}")[0] == 200
        for path in everything:
            assert ask(node, path)[0] == 403, path
        given = {}
        for pod in core.list_pod_for_all_namespaces().items:
            bound = {"kind": "Pod", "apiVersion": "v1", "name": pod.metadata.name, "uid": pod.metadata.uid}
            account = f"/api/v1/namespaces/{pod.metadata.namespace}/serviceaccounts/{pod.spec.service_account_name}"
            status, answer = ask(node, f"{account}/token", {"spec": {"boundObjectRef": bound}})
            assert status == 403 or (status == 201 and pod.spec.node_name == name), (name, account, status)
            if status == 201:
                given[account] = answer["status"]["token"]
        assert given, f"{name} got no token: it has pods that use the API"
        for account, token in given.items():
            for path in everything:
                assert ask(ssl._create_unverified_context(), path, token=token)[0] == 403, (account, path)


def test_the_agents_token_opens_nothing_but_joining(cluster: Cluster) -> None:
    password = secrets.secrets()["k3s-agent-token"]
    address = cluster.address(cluster.hosts("k3s_servers")[0])

    def status(path: str, user: str, method: str = "GET") -> int:
        asked = urllib.request.Request(
            f"https://{address}:6443{path}", method=method, data=b"{}" if method == "PUT" else None
        )
        asked.add_header("Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())
        try:
            with urllib.request.urlopen(asked, context=ssl._create_unverified_context(), timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    assert status("/v1-k3s/config", "node") == 200
    for path in ("/v1-k3s/server-bootstrap", "/v1-k3s/encrypt/status"):
        assert status(path, "node") in (401, 403), path
        assert status(path, "server") in (401, 403), path
    assert status("/v1-k3s/token", "node", "PUT") in (401, 403)
    for path in ("/api/v1/secrets", "/api/v1/nodes"):
        assert status(path, "node") in (401, 403), path
