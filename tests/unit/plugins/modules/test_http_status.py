"""What a server answers is read as far as its cookies: the rest may have no end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.modules import http_status

CHUNK = b"x" * 2**16


class Server(BaseHTTPRequestHandler):
    """Answers with the status that the path is, and a body without end; its cookies have what it got."""

    sent: list[int]

    def answer(self) -> None:
        form = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(int(self.path.partition("?")[0].strip("/")))
        # Redirects, errors and JSON are what ansible.builtin.uri reads without return_content too.
        self.send_header("Location", "/200")
        self.send_header("Content-Type", "application/json")
        self.send_header("Set-Cookie", f'got="{self.command} {self.path} {form.decode()}"; Path=/')
        self.send_header("Set-Cookie", f"back={self.headers['Cookie']}; HttpOnly")
        self.end_headers()
        try:
            while True:
                self.wfile.write(CHUNK)
                self.sent.append(len(CHUNK))
        except OSError:
            pass

    do_GET = do_POST = answer

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Server, "sent", [], raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.daemon_threads = False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    # Waits for those that still send.
    server.server_close()
    assert sum(Server.sent) < 2**24


def ask(url: str, **more: Any) -> tuple[int, dict[str, str]]:
    status, cookies = http_status.ask({"url": url, "form": None, "cookies": "", "timeout": 5, **more})
    return status, {name: each.value for name, each in cookies.items()}


@pytest.mark.parametrize("status", [200, 302, 401, 500])
def test_an_answer_without_end_is_its_status(url: str, status: int) -> None:
    assert ask(f"{url}/{status}?x=1") == (status, {"got": f"GET /{status}?x=1 ", "back": "None"})


def test_a_form_and_cookies_are_sent(url: str) -> None:
    found = ask(f"{url}/200", form={"password": "a b&c"}, cookies="_xsrf=2|a|b")
    assert found == (200, {"got": "POST /200 password=a+b%26c", "back": "_xsrf=2|a|b"})
