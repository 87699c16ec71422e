"""What a board that others control may send through the API: a pod's output, and its state, are the kubelet's word."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
import tracemalloc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.edge_ai.cluster.plugins.action import notebooks_exec, notebooks_wait
from kubernetes import client
from websocket import WebSocket

TASK = {"namespace": "edge-ai", "uid": "1", "job": "report", "title": "report.ipynb", "export": "pi-01:/srv/books"}
ESCAPES = "\x1b[2J\nok: [pi-01]\u202e"


class Sender(threading.Thread):
    """Sends without end, and notes how much was taken."""

    def __init__(self, to: socket.socket, begins: bytes, block: bytes, pause: float = 0) -> None:
        super().__init__(daemon=True)
        self.to, self.begins, self.block, self.pause, self.taken = to, begins, block, pause, 0
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError), self.to:
            self.to.sendall(self.begins)
            while self.taken < 1 << 30:
                self.to.sendall(self.block)
                self.taken += len(self.block)
                time.sleep(self.pause)


@pytest.fixture
def api() -> Iterator[tuple[socket.socket, Any]]:
    """A server that listens, and a watcher that asks it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        configuration = client.Configuration()
        configuration.host = f"http://127.0.0.1:{server.getsockname()[1]}"
        with client.ApiClient(configuration) as asking:
            yield server, notebooks_wait.Watcher(asking, TASK, lambda _: None)


def log_of(api: tuple[socket.socket, Any], block: bytes, pause: float = 0) -> tuple[str, int]:
    """What is read of a log without end, and how many bytes of it were sent."""
    server, watcher = api
    sent: list[Sender] = []

    def serve() -> None:
        connection, _ = server.accept()
        connection.recv(1 << 16)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
        sent.append(Sender(connection, head, b"%x\r\n%s\r\n" % (len(block), block), pause))

    threading.Thread(target=serve, daemon=True).start()
    pod = SimpleNamespace(metadata=SimpleNamespace(name="report-x"))
    return watcher.log(pod), sent[0].taken


def test_of_a_log_without_end_its_limit_is_read(api: tuple[socket.socket, Any]) -> None:
    text, sent = log_of(api, b"x" * 1023 + b"\n")
    assert len(text) == notebooks_wait.LOG_BYTES
    assert sent < 32 << 20


def test_a_log_that_comes_a_byte_at_a_time_has_its_time(
    api: tuple[socket.socket, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebooks_wait, "LOG_SECONDS", 1)
    begun = time.monotonic()
    text, _ = log_of(api, b"x", 0.05)
    assert set(text) == {"x"}
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    "head",
    [
        # Binary, of 1 TiB; then parts of one message, of which none is the last.
        struct.pack("!BBQ", 0x82, 127, 1 << 40),
        struct.pack("!BBQ", 0x02, 127, 10) + bytes(10),
        struct.pack("!BBQ", 0x8A, 127, 1 << 40),
    ],
    ids=["long", "parts", "pong"],
)
def test_a_frame_without_end_is_refused(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        opened = WebSocket()
        opened.sock, opened.connected = ours, True
        monkeypatch.setattr(notebooks_exec, "stream", lambda *_, **__: SimpleNamespace(sock=opened))
        part = struct.pack("!BBQ", 0x00, 127, 1 << 16) + bytes(1 << 16)
        sender = Sender(theirs, head, part)
        task = {"pod": "x", "namespace": "n", "container": "c", "command": ["true"], "limit": 4096}
        tracemalloc.start()
        try:
            with pytest.raises(AnsibleActionFail, match="writes more than 4096 bytes"):
                notebooks_exec.output(client.ApiClient(), task)
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()
    sender.join(10)
    assert sender.taken < 8 << 20


def pod(**status: Any) -> Any:
    """A pod as its kubelet describes it."""
    all_of = {"phase": "Failed", "reason": None, "message": None, "conditions": [], "container_statuses": [], **status}
    return SimpleNamespace(spec=SimpleNamespace(node_name="pi-03"), status=SimpleNamespace(**all_of))


def waiting(reason: str) -> Any:
    state = SimpleNamespace(waiting=SimpleNamespace(reason=reason, message=ESCAPES), terminated=None)
    return [SimpleNamespace(image="x", state=state)]


@pytest.mark.parametrize(
    "text",
    [
        notebooks_wait.state(pod(phase="Pending", container_statuses=waiting(ESCAPES))),
        notebooks_wait.state(pod(phase=ESCAPES)),
        notebooks_wait.cannot_start(pod(container_statuses=waiting("ImagePullBackOff"))),
        notebooks_wait.unschedulable(
            pod(
                conditions=[
                    SimpleNamespace(type="PodScheduled", status="False", reason="Unschedulable", message=ESCAPES)
                ]
            )
        ),
        notebooks_wait.failure(pod(reason=ESCAPES, message=ESCAPES), "report.ipynb", "x:/y", "").splitlines()[0],
    ],
)
def test_the_state_of_a_pod_begins_no_line_and_moves_no_cursor(text: str) -> None:
    assert r"[2j\nok: [pi-01]\u202e" in text.lower()
    assert text.isprintable()


def test_a_warning_is_one_of_a_few_events_in_one_line(api: tuple[socket.socket, Any]) -> None:
    """A board's credential may make events for any object."""
    _, watcher = api
    asked: dict[str, Any] = {}

    def listed(_: str, **options: Any) -> Any:
        asked.update(options)
        return SimpleNamespace(items=[SimpleNamespace(reason="FailedCreate", message=ESCAPES)])

    watcher.api = SimpleNamespace(list_namespaced_event=listed)
    assert watcher.warning("Job", "report").isprintable()
    assert asked["limit"] == notebooks_wait.EVENTS
