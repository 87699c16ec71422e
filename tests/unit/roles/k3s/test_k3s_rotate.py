"""Which nodes of a cluster keep a rotation from being begun."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.support import ansible_playbook
from tests.support.api import Api, node, serving

PLAY = {
    "hosts": "k3s_servers",
    "gather_facts": False,
    "tasks": [{"ansible.builtin.import_role": {"name": "k3s", "tasks_from": "rotate_check"}}],
}


def rotate(folder: Path, api: Api, *names: str, **variables: object) -> str:
    """Output of a rotation in a cluster with these nodes, of which the inventory has pi-01, where no k3s runs."""
    (folder / "kubeconfig").write_text(api.kubeconfig())
    api.answers["/api/v1/nodes"] = {"items": [node(name) for name in names]}
    api.answers["/api/v1/pods"] = {"items": []}
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    values = {
        "cluster_name": "home", "cluster_secrets_dir": str(folder), "cluster_cache_dir": str(folder),
        "k3s_kubeconfig": str(folder / "kubeconfig"), "k3s_data_dir": str(folder / "k3s"), **variables,
    }  # fmt: skip
    groups = {"k3s_servers": {"hosts": {"pi-01": {**local, "ansible_host": "127.0.0.1"}}}}
    inventory = {"hosts": {"localhost": local}, "children": groups, "vars": values}
    (folder / "hosts.json").write_text(json.dumps({"all": inventory}))
    (folder / "play.yml").write_text(json.dumps([PLAY]))
    done = ansible_playbook.run(["-i", "hosts.json", "play.yml"], cwd=folder)
    assert done.returncode == 2, done.stdout
    return done.stdout + done.stderr


def test_a_node_that_would_keep_its_old_token_is_named(tmp_path: Path) -> None:
    """As a board that has joined from the group spare, which is no host of the playbook."""
    with serving() as api:
        output = rotate(tmp_path, api, "pi-01", "pi-05", rotate=["agent-token"])
    assert "pi-05 would keep the old secret, and not start with it again: write each below k3s_servers" in output


def test_certificates_are_rotated_whichever_nodes_there_are(tmp_path: Path) -> None:
    with serving() as api:
        output = rotate(tmp_path, api, "pi-01", "pi-05", rotate=["certificates"])
    assert "would keep" not in output and "k3s of pi-01 is " in output
    assert api.asked == {}


def test_a_cluster_without_other_nodes_is_rotated(tmp_path: Path) -> None:
    with serving() as api:
        output = rotate(tmp_path, api, "pi-01", rotate=["ssh-key"])
    assert "would keep" not in output and "k3s of pi-01 is " in output


def test_nothing_to_rotate_is_an_error(tmp_path: Path) -> None:
    with serving() as api:
        assert "rotate is missing: write -e rotate=all" in rotate(tmp_path, api, "pi-01")
