"""Kubeconfigs that can be used, and that cannot."""

import base64
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.api import KubeconfigError, connect

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
    assert connect(path).configuration.host == "https://192.168.1.11:6443"
    assert connect(path, "https://192.168.1.12:6443").configuration.host == "https://192.168.1.12:6443"
    # One client's server is not that of the next.
    assert connect(path).configuration.host == "https://192.168.1.11:6443"


@pytest.mark.parametrize("text", ["", "clusters: []\n", "a: [\n", "- a list\n"])
def test_what_is_no_kubeconfig_is_an_error_with_a_remedy(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(KubeconfigError, match=r"kubeconfig: not a kubeconfig: .*; run site\.yml first"):
        connect(path)


def test_a_missing_kubeconfig_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match=r"none: there is no kubeconfig of the cluster; run site\.yml first"):
        connect(tmp_path / "none")


def test_an_expired_kubeconfig_is_an_error_that_names_the_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {name: tmp_path / name for name in ("client-key", "client-certificate")}
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x",
         "-keyout", files["client-key"], "-out", files["client-certificate"], "-days", "365"],
        check=True, capture_output=True,
    )  # fmt: skip
    user = {f"{name}-data": base64.b64encode(file.read_bytes()).decode() for name, file in files.items()}
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(GOOD | {"users": [{"name": "home", "user": user}]}))
    connect(path)
    later = time.time() + 366 * 86400
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(KubeconfigError, match=r"its certificate expired on 20\d\d-\d\d-\d\d; run site\.yml"):
        connect(path)
