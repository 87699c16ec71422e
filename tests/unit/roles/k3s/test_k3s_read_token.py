"""What is taken over of the tokens on a server's card, which may be in other hands."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support import ansible_playbook

FULL = f"K10{'a' * 64}::node:s3cret"


def read(folder: Path, tasks: str, text: str, **variables: str) -> tuple[str, dict[str, str]]:
    """Output, and the files of the control node, after tasks of the role read a server's agent-token of this text."""
    server, secrets = folder / "k3s/server", folder / "secrets"
    for each in (server, secrets):
        each.mkdir(parents=True)
    (server / "agent-token").write_text(text)
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    values = {
        "cluster_secrets_dir": str(secrets), "k3s_data_dir": str(folder / "k3s"), "_k3s_token_name": "agent-token",
        "k3s_node_token_file": str(secrets / "node-token"), "_k3s_token_dest": str(secrets / "agent-token"),
    }  # fmt: skip
    groups = {"k3s_servers": {"hosts": {"pi-01": {**local, "ansible_host": "127.0.0.1"}}}}
    inventory = {"hosts": {"localhost": local}, "children": groups, "vars": values}
    play = {
        "hosts": "k3s_servers",
        "gather_facts": False,
        "tasks": [{"ansible.builtin.import_role": {"name": "k3s", "tasks_from": tasks}}],
    }
    (folder / "hosts.json").write_text(json.dumps({"all": inventory}))
    (folder / "play.yml").write_text(json.dumps([play]))
    done = ansible_playbook.run(["-i", "hosts.json", "play.yml"], cwd=folder)
    return done.stdout + done.stderr, {each.name: each.read_text() for each in secrets.iterdir()}


def test_a_token_is_taken_over_in_the_form_that_is_needed(tmp_path: Path) -> None:
    assert read(tmp_path / "1", "node_token", FULL)[1] == {"node-token": f"{FULL}\n"}
    assert read(tmp_path / "2", "adopt_token", f"{FULL}\n")[1] == {"agent-token": "s3cret\n"}


@pytest.mark.parametrize("tasks", ["node_token", "adopt_token"])
def test_what_is_no_token_is_named_and_neither_taken_over_nor_shown(tmp_path: Path, tasks: str) -> None:
    output, files = read(tmp_path, tasks, f"{FULL}\nserver: https://192.0.2.1:6443\n")
    assert files == {}
    assert "pi-01: " in output and "server/agent-token is not the full form of a token" in " ".join(output.split())
    assert "s3cret" not in output and "192.0.2.1" not in output
