"""Downloads by a playbook: as long as they may be, with the password of ~/.netrc, and no more often than needed."""

import base64
import hashlib
import http.server
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import ansible_playbook

CONTENT = b"0123  k3s\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """/sums for who has the password; /endless sends without end, without saying how much."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"x" * 65536)
            except OSError:
                return
        elif self.headers.get("Authorization") != f"Basic {base64.b64encode(b'me:hunter2').decode()}":
            self.send_error(401)
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(CONTENT)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a server that takes a password."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    Handler.asked = []
    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    listening.server_close()


def run(directory: Path, *tasks: dict[str, Any], options: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Results of downloads, one after the other, into files of a directory."""
    asked = [
        {"edge_ai.cluster.download": {"setting": "k3s_release_url", "limit": 100, "timeout": 5, **task},
         "ignore_errors": True}
        for task in tasks
    ]  # fmt: skip
    (directory / "play.json").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": asked}]))
    here = ["-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
    done = ansible_playbook.run(
        [*options, *here, "play.json"],
        cwd=directory, env=ansible_playbook.environment(ANSIBLE_STDOUT_CALLBACK="ansible.posix.json"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    played = json.loads(done.stdout[done.stdout.index("{") :])["plays"][0]["tasks"]
    return [task["hosts"]["localhost"] for task in played]


def test_a_file_without_a_digest_is_downloaded_each_time(server: str, tmp_path: Path) -> None:
    asked = {"url": f"{server}/sums", "dest": str(tmp_path / "sums")}
    (tmp_path / "sums").write_text("old")
    results = run(tmp_path, asked, asked)
    assert [result["changed"] for result in results] == [True, False]
    assert Handler.asked == ["/sums", "/sums"]
    assert (tmp_path / "sums").read_bytes() == CONTENT
    assert (tmp_path / "sums").stat().st_mode & 0o777 == 0o644


def test_a_file_with_a_digest_is_downloaded_once(server: str, tmp_path: Path) -> None:
    asked = {"url": f"{server}/k3s", "dest": str(tmp_path / "k3s"), "sha256": DIGEST}
    assert [result["changed"] for result in run(tmp_path, asked, options=("--check",))] == [True]
    assert not (tmp_path / "k3s").exists() and Handler.asked == []
    wrong = {**asked, "dest": str(tmp_path / "other"), "sha256": "0" * 64, "digest_setting": "k3s_binary_sha256"}
    first, second, refused = run(tmp_path, asked, asked, wrong)
    assert (first["changed"], second["changed"], refused["failed"]) == (True, False, True)
    assert (tmp_path / "k3s").read_bytes() == CONTENT
    assert f"expected {'0' * 64}, got {DIGEST} from {server}/k3s: correct k3s_binary_sha256" in refused["msg"]
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("digest", ["", DIGEST])
def test_what_is_sent_without_end_is_left(server: str, tmp_path: Path, digest: str) -> None:
    (tmp_path / "sums").mkdir()
    asked = {"url": f"{server}/endless", "dest": str(tmp_path / "sums/sums"), "sha256": digest}
    result = run(tmp_path, asked)[0]
    assert result["msg"] == f"{server}/endless has more than 100 bytes, which no such file has: correct k3s_release_url"
    assert [path.suffix for path in (tmp_path / "sums").iterdir()] == ([".lock"] if digest else [])


def test_a_netrc_that_cannot_be_read_is_reported(server: str, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("not of such a file\n")
    result = run(tmp_path, {"url": f"{server}/sums", "dest": str(tmp_path / "sums")})[0]
    assert f"{server}/sums cannot be downloaded (" in result["msg"]
    assert "correct ~/.netrc or k3s_release_url" in result["msg"]
