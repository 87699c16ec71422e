"""What an operator reads when the image of the cards cannot be prepared: what failed, and the way without it."""

from __future__ import annotations

import contextlib
import http.server
import json
import sys
import threading
from pathlib import Path

from tests.support import ansible_playbook
from tests.support.paths import ROOT


def run(directory: Path, tasks: str, **variables: object) -> str:
    """The message with which a play with tasks of the role ends."""
    task = {"name": "Prepare", "ansible.builtin.include_role": {"name": "card_image", "tasks_from": tasks}}
    (directory / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    given = {
        "ansible_python_interpreter": sys.executable,
        "cluster_cache_dir": str(directory / "cache"),
        "card_image_source": "/nonexistent/os.img",
        "card_image_digest": "0" * 64,
        "card_image_become": False,
        "_card_image_namespaces": [],
        "__card_image": {"path": str(directory / "cache/images/prepared-1.img"), "k3s": "aarch64"},
    }
    options = ["-i", "localhost,", "-c", "local", directory / "play.yml", "-e", json.dumps(given | variables)]
    done = ansible_playbook.run(options, cwd=ROOT)
    assert done.returncode == 2, done.stdout + done.stderr
    return " ".join((done.stdout + done.stderr).split())


def test_an_image_that_cannot_be_prepared(tmp_path: Path) -> None:
    script = tmp_path / "prepare.sh"
    script.write_text("echo the program qemu-aarch64-static is too old >&2; exit 3\n")
    text = run(tmp_path, "make", card_image_parts=[], _card_image_script=str(script))
    assert "The OS image could not be prepared for the cards: the program qemu-aarch64-static is too old." in text
    assert "write card_image_parts: [] in group_vars/boards.yml" in text


def test_an_image_that_takes_too_long(tmp_path: Path) -> None:
    script = tmp_path / "prepare.sh"
    script.write_text("sleep 60\n")
    text = run(tmp_path, "make", card_image_parts=[], _card_image_script=str(script), card_image_timeout=1)
    assert "could not be prepared for the cards: it took more than 1 s (card_image_timeout)." in text


def test_a_release_page_that_does_not_answer(tmp_path: Path) -> None:
    url = "http://127.0.0.1:1/k3s"
    text = run(
        tmp_path, "prepare", card_image_parts=["k3s"], _card_image_machine="aarch64", k3s_release_url=url,
        cluster_secrets_dir=str(tmp_path),
    )  # fmt: skip
    assert f"which could not be downloaded from {url}: " in text
    assert "write card_image_parts: [packages] in group_vars/boards.yml" in text


def test_a_release_page_that_sends_too_much(tmp_path: Path) -> None:
    """Digests of more than 64 KiB, and a binary of more than a GiB, which is not begun."""

    class Handler(http.server.BaseHTTPRequestHandler):
        length = 65537

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(self.length))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(bytes(65537))

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/k3s"
    given = {
        "card_image_parts": ["k3s"], "_card_image_machine": "aarch64", "k3s_release_url": url, "k3s_version": "v1.0.0",
        "k3s_airgap_images": False, "cluster_secrets_dir": str(tmp_path),
    }  # fmt: skip
    try:
        text = run(tmp_path, "prepare", **given)
        assert f"{url}/v1.0.0/sha256sum-arm64.txt has more than 65536 bytes" in text
        Handler.length = (1 << 30) + 1
        pinned = {"amd64": "0" * 64, "arm64": "0" * 64}
        text = run(tmp_path, "prepare", **given, k3s_binary_sha256=pinned)
        assert f"{url}/v1.0.0/k3s-arm64 has more than 1073741824 bytes" in text
    finally:
        server.shutdown()
        server.server_close()
    assert sorted(path.suffix for path in (tmp_path / "cache").rglob("*") if path.is_file()) == [".lock"]
