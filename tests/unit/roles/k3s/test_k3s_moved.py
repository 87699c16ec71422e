"""A board that has another address than k3s was given: when its pods are stopped."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.support import ansible_playbook
from tests.support.paths import ROOT

OLD, NEW = "10.77.0.11", "10.79.0.11"
#: The address that k3s_node found, variables of the board, and whether it was moved.
CASES: dict[str, tuple[str, dict[str, Any], bool]] = {
    "new": ("", {}, False),
    "as-it-was": (NEW, {}, False),
    "moved": (OLD, {}, True),
    "of-ones-own": (OLD, {"k3s_agent_config": {"node-ip": OLD}}, False),
    "by-name": (OLD, {"ansible_host": "pi-01.lan"}, False),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bool]:
    """What the role decides in each case, of which each is a board."""
    folder = tmp_path_factory.mktemp("moved")
    hosts = {name: {"ansible_host": NEW, "__k3s_node": {"node_ip": case[0]}, **case[1]} for name, case in CASES.items()}
    variables = {
        "ansible_connection": "local", "cluster_name": "unit", "cluster_secrets_dir": str(folder),
        "cluster_cache_dir": str(folder), "ansible_python_interpreter": "{{ ansible_playbook_python }}",
    }  # fmt: skip
    children = {"k3s_servers": {"hosts": {"first": {"ansible_host": "10.79.0.9"}}}, "boards": {"hosts": hosts}}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": variables, "children": children}}))
    tasks = [
        {"ansible.builtin.copy": {
            "content": "{{ _k3s_moved | to_json }}", "mode": "0600",
            "dest": f"{folder}/{{{{ inventory_hostname }}}}.json",
        }},
    ]  # fmt: skip
    # Of the role there are only the variables.
    play = {"hosts": "boards", "gather_facts": False, "roles": [{"role": "k3s", "tags": ["never"]}], "tasks": tasks}
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    done = ansible_playbook.run(["-i", folder / "hosts.yml", folder / "play.yml"], cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_a_board_with_another_address_is_noticed(answers: dict[str, bool], name: str) -> None:
    assert answers[name] == CASES[name][2]
