"""What kernels of people are found to use before a run, by the script that runs in pods of Jupyter."""

from __future__ import annotations

import asyncio
import json
import queue
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from tests.support import ansible_playbook
from tests.support.paths import ROOT

ROLE = ROOT / "roles" / "notebooks"
SCRIPT = (ROLE / "files" / "kernels.py").read_text()
COMPUTES = "import sys; print(flush=True)\nwhile True: pass"
WAITS = "import sys; held = b'x' * 100_000_000; print(flush=True); sys.stdin.read()"


def found() -> dict[str, int]:
    done = subprocess.run([sys.executable, "-I", "-c", SCRIPT], capture_output=True, text=True, check=True)
    counts: dict[str, int] = json.loads(done.stdout)
    return counts


def test_kernels_are_counted_with_their_memory_and_whether_they_compute() -> None:
    """Others of this machine are counted too."""
    before = found()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, "ipykernel_launcher"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for code in (COMPUTES, WAITS)
    ]
    try:
        for each in processes:
            assert each.stdout
            each.stdout.readline()
        after = found()
    finally:
        for each in processes:
            each.kill()
            each.communicate()
    assert after["kernels"] >= before["kernels"] + 2
    assert after["computing"] >= 1
    assert after["megabytes"] >= before["megabytes"] + 100


def kubeconfig(port: int) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "x", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "x", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
            "current-context": "x",
        }
    )


def asked(folder: Path, port: int, pods: list[str], **variables: object) -> str:
    """What a play shows that looks for kernels in `pods`, which the API at `port` has."""
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    spec = {"nodeName": "pi-01", "containers": [{"name": "first"}, {"name": "second"}]}
    (folder / "kubeconfig").write_text(kubeconfig(port))
    given = {
        "ansible_python_interpreter": sys.executable,
        "notebooks_kubeconfig": str(folder / "kubeconfig"),
        "notebooks_namespace": "edge-ai",
        # What the first task finds.
        "__notebooks_jupyters": {
            "resources": [{"metadata": {"name": pod}, "spec": spec, "status": ready} for pod in pods]
        },
        **variables,
    }
    tasks = yaml.safe_load((ROLE / "tasks/kernels.yml").read_text())[1:]
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars_files": [str(ROLE / "vars/main.yml")],
        "tasks": tasks,
    }
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    (folder / "files").symlink_to(ROLE / "files")
    options = ["-i", "localhost,", "-c", "local", "-e", json.dumps(given), folder / "play.yml"]
    done = ansible_playbook.run(options, cwd=ROOT, seconds=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_pod_that_never_answers_does_not_hold_up_a_run(tmp_path: Path) -> None:
    """As one whose notebook stops what runs beside it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        shown = asked(tmp_path, silent.getsockname()[1], ["jupyter"], _notebooks_kernels_timeout=3)
    assert "A Jupyter does not say within 3 s" in shown


class Exec(WebSocketHandler):
    """The API's way to a pod: what it runs is named as the pod is."""

    #: Bytes that were sent of the output that has no end.
    sent = 0

    def select_subprotocol(self, subprotocols: list[str]) -> str:
        return "v4.channel.k8s.io"

    async def open(self, pod: str) -> None:
        if pod == "works":
            command = self.get_arguments("command", strip=False)
            assert self.get_arguments("container") == ["first"]
            assert command[:2] == ["sh", "-c"]
            # Kernels are those of this machine.
            done = subprocess.run(["sh", "-c", *command[2:]], capture_output=True, check=False)
            await self.write_message(b"\x01" + done.stdout, binary=True)
            await self.write_message(b'\x03{"status": "Success"}', binary=True)
            self.close()
        while pod == "endless":
            try:
                await self.write_message(b"\x01" + b"x" * 2**15, binary=True)
            except (WebSocketClosedError, StreamClosedError):
                return
            Exec.sent += 2**15


@pytest.fixture
def api() -> Iterator[int]:
    """The port of an API that runs commands in pods."""
    ports: queue.Queue[int] = queue.Queue()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        server = HTTPServer(Application([("/api/v1/namespaces/edge-ai/pods/(.+)/exec", Exec)]))
        sockets = bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        ports.put(sockets[0].getsockname()[1])

    loop.run_until_complete(serve())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield ports.get(timeout=10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def test_open_kernels_are_shown_and_output_without_end_is_not_read(tmp_path: Path, api: int) -> None:
    command = [sys.executable, "-c", WAITS, "ipykernel_launcher"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as kernel:
        assert kernel.stdout
        kernel.stdout.readline()
        shown = asked(tmp_path, api, ["endless", "works"])
        kernel.kill()
    assert re.search("Jupyter on pi-01 has [0-9]+ open kernels? with [0-9]+ MB", " ".join(shown.split()))
    # What is on its way when the reader stops.
    assert 0 < Exec.sent < 2**24
