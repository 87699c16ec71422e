"""What this machine's k3s answers."""

from __future__ import annotations

import contextlib
import http.server
import threading
from pathlib import Path

from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s import local


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
            assert local.proxy_synced(f"http://127.0.0.1:{server.server_port}/{path}") is synced
        server.shutdown()


def test_without_a_whole_kubeconfig_nothing_is_asked(tmp_path: Path) -> None:
    assert local.ask(tmp_path / "absent", "/readyz")[0] == 0
    (tmp_path / "kubeconfig").write_text("server: https://127.0.0.1:1\ncertificate-authority: /none\n")
    assert local.ask(tmp_path / "kubeconfig", "/readyz")[0] == 0
