"""Files on the control node that one role writes and others read: all look where k3s_* says, and are on the disk."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import ansible_playbook
from tests.support.paths import ROOT

WRITTEN_BY = "k3s"
HOSTVARS = {"k3s_kubeconfig": "/own/config", "k3s_token_file": "/own/token", "k3s_agent_token_file": "/own/agent-token"}
DEFAULTS = {
    name: text
    for path in sorted(ROOT.glob("roles/*/defaults/main.yml"))
    if path.parts[-3] != WRITTEN_BY
    for name, text in yaml.safe_load(path.read_text()).items()
    if name.endswith(("_kubeconfig", "backup_token_file", "backup_agent_token_file"))
}


Paths = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """The files' paths by name, for a cluster with files of its own and for one that has set nothing."""
    folder = tmp_path_factory.mktemp("paths")
    common = {
        "ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "cluster_secrets_dir": "/secrets", "cluster_backup_server": "{{ inventory_hostname }}",
    }  # fmt: skip
    inventory = {"all": {"vars": common, "hosts": {"own": HOSTVARS, "default": None}}}
    copy = {"content": "{{ paths | to_json }}", "dest": f"{folder}/{{{{ inventory_hostname }}}}", "mode": "0600"}
    task = {"ansible.builtin.copy": copy, "vars": {"paths": DEFAULTS}}
    (folder / "hosts.json").write_text(json.dumps(inventory))
    (folder / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    done = ansible_playbook.run(["-i", "hosts.json", "play.yml"], cwd=folder, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: json.loads((folder / name).read_text()) for name in ("own", "default")}


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_file_is_where_the_k3s_role_has_it(name: str, paths: Paths) -> None:
    assert Path(paths["own"][name].strip()).parent == Path("/own")
    assert Path(paths["default"][name].strip()).parent == Path("/secrets")


def tasks(found: list[dict[str, Any]], local: bool = False) -> Iterator[dict[str, Any]]:
    """The tasks, also those of blocks, that run on the control node."""
    for task in found:
        here = local or task.get("delegate_to") == "localhost"
        for part in ("block", "rescue", "always"):
            yield from tasks(task.get(part) or [], here)
        if here:
            yield task


@pytest.mark.parametrize("path", sorted(ROOT.glob("roles/*/tasks/*.yml")), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_kept_there_is_not_written_by_a_module_that_leaves_it_in_memory(path: Path) -> None:
    names = [task["name"] for task in tasks(yaml.safe_load(path.read_text())) if "ansible.builtin.copy" in task]
    assert names == []
