"""Kubeconfigs that can be used, and that cannot."""

import base64
import contextlib
import json
import socket
import stat
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
import yaml
from ansible_collections.edge_ai.cluster.plugins.module_utils import cluster_check
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube import api as module
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.api import KubeconfigError, connected
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.objects import Objects
from kubernetes import client, watch
from urllib3.exceptions import HTTPError

from tests.support.api import CORE, node, pod, ready, serving

GOOD = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "home", "cluster": {"server": "https://192.168.1.11:6443"}}],
    "users": [{"name": "home", "user": {"token": "s3cret"}}],
    "contexts": [{"name": "home", "context": {"cluster": "home", "user": "home"}}],
    "current-context": "home",
}


def test_a_client_is_for_the_cluster_or_for_the_given_server(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(GOOD))
    # One client's server is not that of the next.
    for server in ("", "https://192.168.1.12:6443", ""):
        with connected(path, server) as api:
            assert api.configuration.host == (server or "https://192.168.1.11:6443")


@pytest.mark.parametrize("text", ["", "clusters: []\n", "a: [\n", "- a list\n"])
def test_what_is_no_kubeconfig_is_an_error_with_a_remedy(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(KubeconfigError, match=r"kubeconfig: not a kubeconfig: .*; run site\.yml first"):
        connected(path).__enter__()


def test_a_missing_kubeconfig_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match=r"none: there is no kubeconfig of the cluster; run site\.yml first"):
        connected(tmp_path / "none").__enter__()


def test_keys_are_deleted_with_the_client_and_an_expired_one_is_an_error_that_names_the_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {name: tmp_path / name for name in ("client-key", "client-certificate")}
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x",
         "-keyout", files["client-key"], "-out", files["client-certificate"], "-days", "365"],
        check=True, capture_output=True,
    )  # fmt: skip
    user = {f"{name}-data": base64.b64encode(file.read_bytes()).decode() for name, file in files.items()}
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(GOOD | {"users": [{"name": "home", "user": user}]}))
    # Ansible ends its workers without what Python would do: the key must be gone by then.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(tmp_path.iterdir())
    with connected(path) as api:
        key = Path(api.configuration.key_file)
        assert key.read_text() == files["client-key"].read_text()
        assert (stat.filemode(key.stat().st_mode), stat.filemode(key.parent.stat().st_mode)) == (
            "-rw-------",
            "drwx------",
        )
    assert set(tmp_path.iterdir()) == before
    later = time.time() + 366 * 86400
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(KubeconfigError, match=r"its certificate expired on 20\d\d-\d\d-\d\d; run site\.yml"):
        connected(path).__enter__()
    assert set(tmp_path.iterdir()) == before


def test_answers_are_read_as_ever_and_those_that_are_too_long_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the client's classes, by a watch, and by its connections alone."""
    path = tmp_path / "kubeconfig"
    with serving() as there:
        path.write_text(there.kubeconfig())
        there.answers["/api/v1/nodes"] = {"items": [node("pi-01")]}
        # What a node's credential may make: pods that are bound to it.
        large = pod(ready(), annotations={"x": "x" * 1000}) | {"spec": {"containers": [{"name": "c"}]}}
        there.answers["/api/v1/pods"] = {"items": [large] * 100}
        with connected(path) as api:
            core = client.CoreV1Api(api)
            assert [each.metadata.name for each in core.list_node().items] == ["pi-01"]
            assert len(core.list_pod_for_all_namespaces().items) == 100
            with pytest.raises(client.ApiException) as missing:
                core.read_node("pi-09")
            assert (missing.value.status, json.loads(missing.value.body or "")) == (404, {"code": 404})
            there.answers[f"{CORE}/pods?timeoutSeconds=1&watch=true"] = {"type": "ADDED", "object": large}
            event = next(watch.Watch().stream(core.list_namespaced_pod, "edge-ai", timeout_seconds=1))
            assert event["object"].metadata.name == "a"

            monkeypatch.setattr(module, "LONGEST", 50_000)
            assert len(core.list_node().items) == 1
            with pytest.raises(HTTPError, match="kubectl get pods -A"):
                core.list_pod_for_all_namespaces()
            with pytest.raises(HTTPError, match="kubectl get pods -A"):
                Objects(api).items("/api/v1/pods")


def test_an_answer_that_comes_byte_by_byte_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 1)
    path = tmp_path / "kubeconfig"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n")
                for _ in range(100):
                    connection.sendall(b" ")
                    time.sleep(0.1)

        threading.Thread(target=drip, daemon=True).start()
        cluster = {"server": f"http://127.0.0.1:{server.getsockname()[1]}"}
        path.write_text(yaml.safe_dump(GOOD | {"clusters": [{"name": "home", "cluster": cluster}]}))
        begun = time.monotonic()
        with connected(path) as api, pytest.raises(HTTPError, match="takes more than 1 s"):
            client.CoreV1Api(api).list_node()
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize("year", ["0000", "-0001", "10000", "292277026596"])
def test_a_time_that_no_calendar_has_hides_no_other_object(tmp_path: Path, year: str) -> None:
    """Of a kubelet: the API takes and gives every one."""
    path, stamp = tmp_path / "kubeconfig", f"{year}-01-31T00:00:00Z"
    with serving() as there:
        path.write_text(there.kubeconfig())
        heard = {"type": "Ready", "status": "True", "lastHeartbeatTime": stamp}
        hostile = node("pi-05", {"conditions": [heard]})
        hostile["metadata"]["annotations"] = {"text": f"since {stamp}", "time": stamp}
        there.answers["/api/v1/nodes"] = {"items": [node("pi-01"), hostile]}
        ended = {"exitCode": 1, "finishedAt": stamp}
        again = {"name": "c", "restartCount": 9, "lastState": {"terminated": ended}}
        there.answers[f"{CORE}/pods"] = {"items": [pod(ready() | {"containerStatuses": [again]})]}
        with connected(path) as api:
            first, second = client.CoreV1Api(api).list_node().items
            assert (first.metadata.name, second.metadata.name) == ("pi-01", "pi-05")
            assert second.status.conditions[0].last_heartbeat_time.year == 1
            # What is no time by itself is as it was.
            assert second.metadata.annotations["text"] == f"since {stamp}"
            (one,) = Objects(api).items(f"{CORE}/pods")
        assert cluster_check.pod_problems([one], time.time()) == []


def test_a_watch_goes_on_after_a_time_that_no_calendar_has(tmp_path: Path) -> None:
    """In chunks, as the API sends events."""
    path = tmp_path / "kubeconfig"
    one = pod(ready() | {"startTime": "0000-01-31T00:00:00Z"}) | {"spec": {"containers": [{"name": "c"}]}}
    line = json.dumps({"type": "ADDED", "object": one}).encode() + b"\n"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                )
                connection.sendall(b"%x\r\n%s\r\n" % (len(line), line) * 2 + b"0\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        cluster = {"server": f"http://127.0.0.1:{server.getsockname()[1]}"}
        path.write_text(yaml.safe_dump(GOOD | {"clusters": [{"name": "home", "cluster": cluster}]}))
        with connected(path) as api:
            events = watch.Watch().stream(client.CoreV1Api(api).list_namespaced_pod, "edge-ai", timeout_seconds=1)
            assert [next(events)["object"].status.start_time.year for _ in range(2)] == [1, 1]
