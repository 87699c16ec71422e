"""What a playbook asks over the network ends: a server may accept a connection and say nothing, or a byte at a time."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import ansible_playbook
from tests.support.paths import ROOT

FILES = sorted([*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("playbooks/*.yml"), *ROOT.glob("playbooks/stages/*.yml")])
#: Modules without a limit of their own on the whole time: `timeout` of http_status and download is for each wait, the
#: limit of kube_objects is for the body of an answer.
ENDLESS = (
    "kubernetes.core.",
    "edge_ai.cluster.kube_objects",
    "edge_ai.cluster.notebooks_exec",
    "edge_ai.cluster.http_status",
    "edge_ai.cluster.download",
    # What a run asks each board first: one whose card hangs keeps its connection and answers nothing.
    "edge_ai.cluster.preflight_info",
    "edge_ai.cluster.nfs_server_info",
    "edge_ai.cluster.k3s_node",
)
#: Modules that take what a server or pod sends, whatever its size.
BOUNDLESS = (
    "ansible.builtin.uri",
    "ansible.builtin.get_url",
    "kubernetes.core.k8s_exec",
    "kubernetes.core.k8s_info",
    "kubernetes.core.k8s_log",
    "kubernetes.core.k8s_cp",
)


class Loader(yaml.SafeLoader):
    """Tasks as data; Ansible's own tags are ignored."""


Loader.add_multi_constructor("!", lambda loader, suffix, node: None)


def without_limit(tasks: list[dict[str, Any]], limited: bool = False) -> Iterator[str]:
    """Names of the tasks that may wait, or read, without end."""
    for task in tasks:
        has_limit = limited or "timeout" in task
        for part in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks"):
            yield from without_limit(task.get(part) or [], has_limit)
        if any(key.startswith(BOUNDLESS if has_limit else BOUNDLESS + ENDLESS) for key in task):
            yield task["name"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_asks_over_the_network_has_limits(path: Path) -> None:
    assert list(without_limit(yaml.load(path.read_text(), Loader=Loader) or [])) == []


@pytest.fixture
def dripping() -> Iterator[int]:
    """The port of a web server that begins an answer and sends a byte of it every 0.2 s, without end."""
    done = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not done.wait(0.2):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        yield listening.getsockname()[1]
        done.set()


def test_a_jupyter_that_sends_a_byte_at_a_time_is_a_problem(dripping: int, tmp_path: Path) -> None:
    role = {"name": "cluster_check", "tasks_from": "jupyter", "rolespec_validate": False}
    shown = {"ansible.builtin.debug": {"var": "cluster_check_jupyter_problems"}}
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [{"ansible.builtin.import_role": role}, shown]}
    variables = {
        "_cluster_check_url": f"http://127.0.0.1:{dripping}",
        "cluster_secrets_dir": str(tmp_path),
        "cluster_check_jupyter_timeout": 2,
    }
    (tmp_path / "play.json").write_text(json.dumps([play]))
    begun = time.monotonic()
    given = json.dumps(variables | {"ansible_python_interpreter": sys.executable})
    options = ["-i", "localhost,", "-c", "local", "play.json", "-e", given]
    done = ansible_playbook.run(options, cwd=tmp_path, seconds=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Jupyter at http://127.0.0.1:{dripping} does not answer" in done.stdout
    assert time.monotonic() - begun > 6


def test_a_board_that_answers_nothing_is_one_line_of_the_report(tmp_path: Path) -> None:
    """Its Python never ends, as where a disk hangs, or where others have put another program in its place."""
    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\ncat >/dev/null\nexec sleep 60\n")
    hanging.chmod(0o755)
    include = {
        "ansible.builtin.include_role": {"name": "cluster_check", "tasks_from": "board", "rolespec_validate": False}
    }
    shown = {"ansible.builtin.debug": {"msg": "{{ ansible_failed_task.name }}: {{ ansible_failed_result.msg }}"}}
    play = {"hosts": "pi-01", "gather_facts": False, "tasks": [{"block": [include], "rescue": [shown]}]}
    (tmp_path / "play.json").write_text(json.dumps([play]))
    groups = {name: {"hosts": {"pi-01": None}} for name in ("cluster", "k3s_servers", "nfs_servers")}
    inventory = {"all": {"children": groups, "vars": {"ansible_connection": "local", "ansible_host": "10.0.0.1"}}}
    (tmp_path / "hosts.json").write_text(json.dumps(inventory))
    given = {"ansible_python_interpreter": str(hanging), "cluster_check_board_timeout": 2}
    begun = time.monotonic()
    options = ["-i", "hosts.json", "play.json", "-e", json.dumps(given)]
    done = ansible_playbook.run(options, cwd=tmp_path, seconds=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "clock information: Task failed: Timed out after 2 second" in " ".join(done.stdout.split()), done.stdout
    assert time.monotonic() - begun < 50
