"""Kubeconfigs that can be used, and that cannot."""

import base64
import stat
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import yaml
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.api import KubeconfigError, connected

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
