"""A board that has another address than k3s was given: when its pods are stopped, and when it is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.support import ansible_playbook
from tests.support.paths import ROOT

PREFLIGHT = yaml.safe_load((ROOT / "roles/k3s/tasks/preflight.yml").read_text())
REFUSAL = next(task for task in PREFLIGHT if task["name"].startswith("Refuse other addresses"))
OLD, NEW = "10.77.0.11", "10.79.0.11"
#: What k3s_node found, variables of the board, whether it was moved, and whether it is refused.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], bool, bool]] = {
    "new": ({"node_ip": "", "etcd": False}, {}, False, False),
    "as-it-was": ({"node_ip": NEW, "etcd": True}, {}, False, False),
    "moved": ({"node_ip": OLD, "etcd": False}, {}, True, False),
    "moved-etcd": ({"node_ip": OLD, "etcd": True}, {}, True, True),
    "of-ones-own": ({"node_ip": OLD, "etcd": True}, {"k3s_agent_config": {"node-ip": OLD}}, False, False),
    "by-name": ({"node_ip": OLD, "etcd": True}, {"ansible_host": "pi-01.lan"}, False, False),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the role decides in each case, of which each is a board."""
    folder = tmp_path_factory.mktemp("moved")
    hosts = {name: {"ansible_host": NEW, "found": case[0], **case[1]} for name, case in CASES.items()}
    variables = {
        "ansible_connection": "local", "cluster_name": "unit", "cluster_secrets_dir": str(folder),
        "cluster_cache_dir": str(folder), "ansible_python_interpreter": "{{ ansible_playbook_python }}",
    }  # fmt: skip
    children = {"k3s_servers": {"hosts": {"first": {"ansible_host": "10.79.0.9"}}}, "boards": {"hosts": hosts}}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": variables, "children": children}}))
    tasks = [
        # For the role's variables.
        {"ansible.builtin.import_role": {"name": "k3s", "tasks_from": "ready"}, "when": False},
        {"ansible.builtin.set_fact": {"__k3s_node": "{{ found }}"}},
        {**REFUSAL, "ignore_errors": True, "any_errors_fatal": False, "register": "refusal"},
        {
            "ansible.builtin.copy": {
                "content": "{{ {'moved': _k3s_moved, 'refusal': refusal.msg if refusal is failed else ''} | to_json }}",
                "dest": f"{folder}/{{{{ inventory_hostname }}}}.json", "mode": "0600",
            }
        },
    ]  # fmt: skip
    (folder / "play.yml").write_text(yaml.safe_dump([{"hosts": "boards", "gather_facts": False, "tasks": tasks}]))
    done = ansible_playbook.run(["-i", folder / "hosts.yml", folder / "play.yml"], cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_a_board_with_another_address_is_noticed(answers: dict[str, dict[str, Any]], name: str) -> None:
    _, _, moved, refused = CASES[name]
    assert answers[name]["moved"] == moved
    assert bool(answers[name]["refusal"]) == refused


def test_members_of_etcd_are_refused_with_a_way_out(answers: dict[str, dict[str, Any]]) -> None:
    text = answers["moved-etcd"]["refusal"]
    assert f"has the address {OLD} in etcd, in the inventory it has {NEW}" in text
    assert "playbooks/restore.yml" in text and "-e restore_over=unit" in text
