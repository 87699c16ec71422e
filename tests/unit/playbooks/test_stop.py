"""stop.yml says that all went well only of boards that are off: whoever reads it unplugs them."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import ansible_playbook
from tests.support.paths import ROOT

GROUPS = {"pi-01": ("k3s_servers", "nfs_servers"), "pi-02": ("k3s_agents",), "pi-03": ("k3s_agents",)}


@pytest.fixture
def ports() -> Iterator[dict[str, int]]:
    """A port where something listens that is no ssh server, and one where nothing does."""
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_server(("127.0.0.1", 0)) as closed:
        free = closed.getsockname()[1]
        closed.close()
        yield {"busy": listening.getsockname()[1], "off": free}


def stop(folder: Path, boards: dict[str, dict[str, Any]]) -> tuple[int, str]:
    """Exit status and output of the playbook, without what needs a board to be shut down."""
    _, *plays = yaml.safe_load((ROOT / "playbooks/stop.yml").read_text())
    for play in plays:
        for task in play["tasks"]:
            if role := task.pop("ansible.builtin.import_role", None):
                task["ansible.builtin.debug"] = {"msg": f"{role['tasks_from']} {{{{ inventory_hostname }}}}"}
            elif wait := task.get("ansible.builtin.wait_for_connection"):
                wait["timeout"] = 2
    groups: dict[str, Any] = {"cluster": {"hosts": {}}, "k3s_servers": {"hosts": {}}, "k3s_agents": {"hosts": {}}}
    groups |= {"nfs_servers": {"hosts": {}}, "spare": {"hosts": {}}}
    for name, variables in boards.items():
        groups["cluster"]["hosts"][name] = {"ansible_host": "127.0.0.1", **variables}
        for group in GROUPS[name]:
            groups[group]["hosts"][name] = None
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (folder / "play.yml").write_text(yaml.safe_dump(plays))
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"localhost": local}, "children": groups}}))
    done = ansible_playbook.run(["-i", "hosts.yml", "--timeout=3", "play.yml"], cwd=folder)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


RUNS = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}


def test_a_cluster_that_cannot_be_reached_was_not_shut_down(ports: dict[str, int], tmp_path: Path) -> None:
    code, text = stop(tmp_path, {name: {"ansible_port": ports["off"]} for name in GROUPS})
    assert code == 2, text
    assert "None of pi-01, pi-02, pi-03 can be reached, so nothing was shut down." in text


def test_boards_that_are_off_are_said_to_be_and_the_others_shut_down(ports: dict[str, int], tmp_path: Path) -> None:
    code, text = stop(tmp_path, {"pi-01": RUNS, "pi-02": RUNS, "pi-03": {"ansible_port": ports["off"]}})
    assert code == 0, text
    assert "pi-03 does not answer at 127.0.0.1: taken as switched off." in text
    assert "shut_down pi-01" in text and "shut_down pi-02" in text and "shut_down pi-03" not in text


def test_a_board_that_answers_and_lets_nobody_in_was_not_shut_down(ports: dict[str, int], tmp_path: Path) -> None:
    code, text = stop(tmp_path, {"pi-01": RUNS, "pi-02": RUNS, "pi-03": {"ansible_port": ports["busy"]}})
    assert code == 2, text
    assert "shut_down pi-01" in text and "shut_down pi-02" in text
    assert "pi-03 answers at 127.0.0.1, but cannot be logged in to" in text and "it was not shut down" in text
    assert "taken as switched off" not in text
