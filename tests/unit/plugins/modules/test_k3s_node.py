"""What is read on a node: its kernel, its key, its certificates, mounts of its pods, and its clock."""

import contextlib
import http.server
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s import certificate
from ansible_collections.edge_ai.cluster.plugins.modules import k3s_node as node


def test_a_file_that_a_clock_ahead_has_written_does_not_restart_k3s_for_ever(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    paths = [tmp_path / "config.yaml", tmp_path / "absent"]
    now = (tmp_path / "config.yaml").stat().st_ctime
    assert node.changed_since(paths, int(now) - 5, now) == [str(paths[0])]
    assert node.changed_since(paths, int(now) + 5, now + 9) == []
    assert node.changed_since(paths, 0, now) == []
    # The clock was a year ahead, and is not any more.
    assert node.changed_since(paths, int(now) - 365 * 86400 + 5, now - 365 * 86400) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3, ""), (-3600, "3600 s behind the control node's"), (395 * 86400, "395 days ahead of the control node's")],
)
def test_clocks_that_differ_are_reported(seconds: float, text: str) -> None:
    assert node.difference(seconds) == text


DAY = 86400


def make(file: Path, days: int) -> None:
    """A certificate that ends so many days from now."""
    file.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x",
         "-keyout", "/dev/null", "-out", str(file), "-days", str(days)], check=True, capture_output=True,
    )  # fmt: skip


def test_the_certificate_that_ends_first_is_found(tmp_path: Path) -> None:
    now = time.time()
    assert node.first_end(tmp_path, now, now) is None
    for name, days in (("server/tls/client-admin", 300), ("agent/client-kubelet", 200), ("server/tls/server-ca", 5)):
        make(tmp_path / f"{name}.crt", days)
    (tmp_path / "agent/client-none.crt").write_text("-----BEGIN CERTIFICATE-----\nAAAAA\n-----END CERTIFICATE-----\n")
    found = node.first_end(tmp_path, now, now)
    assert found and found["file"].endswith("agent/client-kubelet.crt")
    assert found["days"] in (199, 200) and not found["renewable"]
    assert found["ends"] == time.strftime("%Y-%m-%d", time.gmtime(now + 200 * DAY))
    later = node.first_end(tmp_path, now + 201 * DAY, now)
    assert later and later["days"] in (-1, -2) and later["renewable"]


def test_what_a_start_of_k3s_left_as_it_is_hides_nothing(tmp_path: Path) -> None:
    now = time.time()
    for name, days in (("client-admin", 300), ("client-kubelet", 200)):
        make(tmp_path / f"agent/{name}.crt", days)
    # Started when the first had 100 days left: k3s left it as it is, so would another start.
    kept = node.first_end(tmp_path, now + 150 * DAY, now + 100 * DAY)
    assert kept and kept["file"].endswith("client-kubelet.crt") and not kept["renewable"]
    other = node.first_end(tmp_path, now + 250 * DAY, now + 100 * DAY)
    assert other and other["file"].endswith("client-admin.crt") and other["renewable"]


def test_a_date_of_four_digits_is_read(tmp_path: Path) -> None:
    make(tmp_path / "agent/client-kubelet.crt", 30 * 365)
    end = certificate.end_of((tmp_path / "agent/client-kubelet.crt").read_text())
    assert end and abs(end - time.time() - 30 * 365 * DAY) < DAY


def test_kernel_parameters_that_differ_are_reported(tmp_path: Path) -> None:
    (tmp_path / "kernel/keys").mkdir(parents=True)
    (tmp_path / "kernel/panic").write_text("0\n")
    (tmp_path / "kernel/keys/root_maxkeys").write_text("1000000\n")
    wanted = {"kernel.panic": 10, "kernel.keys.root_maxkeys": 1000000, "vm.panic_on_oom": 0}
    assert node.differing(wanted, tmp_path) == {"kernel.panic": "0", "vm.panic_on_oom": None}
    assert node.differing({}, tmp_path) == {}


@pytest.mark.parametrize(
    ("unit", "content", "encrypted"),
    [("k3s", "{}", True), ("k3s", "", False), ("k3s", None, False), ("k3s-agent", "{}", False)],
)
def test_a_server_with_a_key_encrypts_secrets(tmp_path: Path, unit: str, content: str | None, encrypted: bool) -> None:
    if content is not None:
        (tmp_path / "server/cred").mkdir(parents=True)
        (tmp_path / "server/cred/encryption-config.json").write_text(content)
    params: dict[str, Any] = {"unit": unit, "binary": "/none", "data_dir": str(tmp_path), "secrets_path": "/none"}
    module: Any = SimpleNamespace(params=params)
    assert node.Node(module).encryption() is encrypted


def test_a_token_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    here = SimpleNamespace(data=tmp_path, module=SimpleNamespace(params={"until": "token"}))
    path = tmp_path / "server/agent-token"
    assert "no token" in node.Node.lacks(here, {})  # type: ignore[arg-type]
    path.parent.mkdir()
    path.write_text(f"K10{'0' * 64}::node:")
    assert "no token" in node.Node.lacks(here, {})  # type: ignore[arg-type]
    path.write_text(f"K10{'0' * 64}::node:{'a' * 40}\n")
    assert node.Node.lacks(here, {}) == ""  # type: ignore[arg-type]


def test_a_bridge_of_another_network_is_found() -> None:
    assert node.foreign_bridge(["10.42.1.1"], ["10.42.2.0/24"]) == ["10.42.1.1"]
    assert node.foreign_bridge(["10.42.2.1", "fd42::1"], ["10.42.2.0/24", "fd42::/64"]) == []
    # Before the Node has a network, and without a bridge, nothing is wrong.
    assert node.foreign_bridge(["10.42.1.1"], []) == []
    assert node.foreign_bridge([], ["10.42.2.0/24"]) == []


def test_nfs_mounts_of_pods_are_found_and_no_others() -> None:
    pod = "/var/lib/kubelet/pods/1/volumes/kubernetes.io~nfs/nfs"
    lines = [
        f"36 35 0:50 / {pod} rw,noatime shared:1 - nfs4 10.0.0.1:/ rw,vers=4.2",
        "37 35 0:51 / /home/me/share rw shared:2 - nfs4 10.0.0.1:/ rw",
        "38 35 0:52 / /var/lib/kubelet/pods/1/volumes/kubernetes.io~empty-dir/tmp rw - tmpfs tmpfs rw",
        "39 35 0:53 / /proc/fs/nfsd rw - nfsd nfsd rw",
    ]
    assert node.pods_nfs("\n".join(lines)) == [pod]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("disable:\n- servicelb\nnode-ip: 192.168.1.11\ntls-san: [a]\n", "192.168.1.11"),
        ("node-ip: '192.168.1.11'\n", "192.168.1.11"),
        ("node-ip:\n- 192.168.1.11\n- fd00::1\n", ""),
        ("# node-ip: 192.168.1.11\nx-node-ip: 192.168.1.11\n", ""),
        (None, ""),
    ],
)
def test_the_address_that_k3s_was_given_is_read(tmp_path: Path, text: str | None, address: str) -> None:
    if text is not None:
        (tmp_path / "config.yaml").write_text(text)
    assert node.configured_address(tmp_path / "config.yaml") == address


def test_an_answer_without_end_is_none() -> None:
    """It is read on a board of 1 GiB."""

    class Handler(http.server.BaseHTTPRequestHandler):
        synced = b"".join(
            b"kubeproxy_sync_proxy_rules_%s_timestamp_seconds 1.7e9\n" % each for each in (b"last_queued", b"last")
        )

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.synced)
            with contextlib.suppress(OSError):
                while self.path == "/endless":
                    self.wfile.write(bytes(1 << 20))

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for path, synced in (("metrics", True), ("endless", False)):
            params = {"proxy_metrics": f"http://127.0.0.1:{server.server_port}/{path}"}
            here: Any = SimpleNamespace(module=SimpleNamespace(params=params))
            assert node.Node.proxy_synced(here) is synced
        server.shutdown()
