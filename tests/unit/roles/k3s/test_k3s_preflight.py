"""What the k3s role refuses: settings of a board, and what it found there. Each case is a board of one run."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.support import ansible_playbook
from tests.support.paths import ROOT

TASKS = {task["name"]: task for task in yaml.safe_load((ROOT / "roles/k3s/tasks/preflight.yml").read_text())}
NEW, OLD = "10.79.0.11", "10.77.0.11"
VERSION = "v1.36.4+k3s1"
MINE = "{{ cluster_secrets_dir }}/mine"
#: What k3s_node finds on a board that runs as it should.
FOUND: dict[str, Any] = {
    "kernel": {}, "architecture": "aarch64", "node": {"version": VERSION}, "binary": {"version": VERSION},
    "service": {"enabled": True}, "other_unit": False, "node_ip": NEW, "etcd": False, "cluster_token": "same",
    "agent_token": "same",
}  # fmt: skip
#: Variables of a board, what differs in what was found there, and the beginning of each message that it gets.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "good": ({}, {}, []),
    "no-version": ({"k3s_version": "latest"}, {}, ["k3s_version is latest: "]),
    "unknown-key": (
        {"k3s_agent_config": {"node-lable": ["a=b"], "rubbish": 1}}, {},
        ["k3s_agent_config of unknown-key: ", "k3s_agent_config of unknown-key: "],
    ),
    "role-of-a-server": ({"k3s_role": "server"}, {}, ["role-of-a-server has k3s_role server, which contradicts"]),
    "kernel": ({}, {"kernel": {"vm.panic_on_oom": 1}}, ['kernel has {"vm.panic_on_oom": 1}, and kubelet does not']),
    "kernel-unprotected": (
        {"k3s_agent_config": {"protect-kernel-defaults": False}}, {"kernel": {"vm.panic_on_oom": 1}}, [],
    ),
    "arm-of-32-bits": ({}, {"architecture": "armv7l"}, ["arm-of-32-bits is armv7l; this role installs k3s on x86_64"]),
    "newer": ({}, {"binary": {"version": "v1.37.0+k3s1"}}, ["newer has k3s v1.37.0+k3s1, which is newer than"]),
    "older": (
        {}, {"node": {"version": "v1.36.2+k3s1"}},
        ["older runs k3s v1.36.2+k3s1 with a binary of v1.36.4+k3s1, k3s_version is v1.36.4+k3s1. A running cluster"],
    ),
    "older-and-rolling": ({"_k3s_rolling": True}, {"node": {"version": "v1.36.2+k3s1"}}, []),
    "older-that-never-ran": ({}, {"binary": {"version": "v1.36.2+k3s1"}, "service": {"enabled": False}}, []),
    "other-role": ({}, {"other_unit": True}, ["other-role should be a k3s agent but has the other role's unit."]),
    "moved": ({}, {"node_ip": OLD}, []),
    "moved-etcd": (
        {}, {"node_ip": OLD, "etcd": True},
        [f"moved-etcd has the address {OLD} in etcd, in the inventory it has {NEW}. Members of etcd do not start"],
    ),
    "address-of-ones-own": ({"k3s_node_ip": OLD}, {"node_ip": OLD, "etcd": True}, []),
    "other-cluster": (
        {"k3s_token_file": MINE}, {"cluster_token": "other"}, ["other-cluster already has a cluster whose token is"],
    ),
    "token-that-is-rotated": ({"k3s_token_file": MINE, "_k3s_rotating": True}, {"cluster_token": "other"}, []),
    "no-token-here": ({}, {"cluster_token": "other", "agent_token": "other"}, []),
    "other-agent-token": (
        {"k3s_agent_token_file": MINE}, {"agent_token": "other"}, ["other-agent-token has a cluster whose agent token"],
    ),
    "agent-token-that-is-rotated": (
        {"k3s_agent_token_file": MINE, "_k3s_rotating": True}, {"agent_token": "other"}, [],
    ),
    "two-at-once": (
        {}, {"architecture": "armv7l", "other_unit": True},
        ["two-at-once is armv7l;", "two-at-once should be a k3s agent"],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The lines that each board is refused with."""
    folder = tmp_path_factory.mktemp("preflight")
    (folder / "mine").write_text("a token\n")
    hosts = {
        name: {"ansible_host": NEW, "k3s_role": "agent", **given, "__k3s_node": FOUND | found}
        for name, (given, found, _) in CASES.items()
    }
    variables = {
        "ansible_connection": "local", "cluster_name": "unit", "cluster_secrets_dir": str(folder),
        "cluster_cache_dir": str(folder), "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "k3s_version": VERSION,
    }  # fmt: skip
    children = {"k3s_servers": {"hosts": {"first": {"ansible_host": "10.79.0.9"}}}, "boards": {"hosts": hosts}}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": variables, "children": children}}))
    refused = {"ignore_errors": True, "any_errors_fatal": False}
    tasks = [
        {**TASKS["Validate settings"], **refused, "register": "settings"},
        {
            **TASKS["Validate the node"], **refused, "register": "node",
            "when": ["settings is not failed", TASKS["Validate the node"]["when"]],
        },
        {
            "ansible.builtin.copy": {
                "content": (
                    "{ {%- for host in ansible_play_hosts %}{{ host | to_json }}: "
                    "{{ [hostvars[host].settings, hostvars[host].node] | select('failed') | map(attribute='msg')"
                    " | map('split', '\n') | flatten | to_json }}{{ '' if loop.last else ',' }}{% endfor -%} }"
                ),
                "dest": f"{folder}/found.json", "mode": "0600",
            },
            "run_once": True,
        },
    ]  # fmt: skip
    # Of the role there are only the variables.
    play = {"hosts": "boards", "gather_facts": False, "roles": [{"role": "k3s", "tags": ["never"]}], "tasks": tasks}
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    done = ansible_playbook.run(["-i", folder / "hosts.yml", folder / "play.yml"], cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads((folder / "found.json").read_text()))


@pytest.mark.parametrize("name", CASES)
def test_a_board_is_refused_with_all_that_is_wrong(messages: dict[str, list[str]], name: str) -> None:
    expected = CASES[name][2]
    assert len(messages[name]) == len(expected), json.dumps(messages[name])
    for line, begin in zip(messages[name], expected, strict=True):
        assert line.startswith(begin)


def test_a_moved_member_of_etcd_has_a_way_out(messages: dict[str, list[str]]) -> None:
    (text,) = messages["moved-etcd"]
    assert "playbooks/restore.yml" in text and "-e restore_over=unit" in text
