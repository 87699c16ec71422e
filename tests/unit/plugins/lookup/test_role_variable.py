"""The lookup role_variable, and its use: no role or playbook repeats the default of another role."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import yaml

from tests.support import ansible_playbook
from tests.support.paths import ROOT

DEFAULTS, COMPUTED = (
    {
        name: path.parts[-3]
        for path in ROOT.glob(f"roles/*/{part}/main.yml")
        for name in yaml.safe_load(path.read_text())
    }
    for part in ("defaults", "vars")
)
FILES = [
    path
    for folder in (
        "roles/*/defaults",
        "roles/*/tasks",
        "roles/*/templates",
        "roles/*/vars",
        "playbooks",
        "playbooks/stages/**",
    )
    for path in sorted(ROOT.glob(f"{folder}/*.*"))
]
LOOKUP = "lookup('edge_ai.cluster.role_variable', '{}')"
HOSTS = {
    "all": {
        "vars": {
            "ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "cluster_secrets_dir": "/secrets",
        },
        "children": {
            "k3s_servers": {
                "hosts": {"pi-01": {"nfs_server_export": "{{ data }}/x", "data": "/d", "k3s_ingress": "none"}},
            },
            "k3s_agents": {"hosts": {"PI-02": {"ansible_host": "10.0.0.2"}}},
        },
    }
}  # fmt: skip
ON_ANOTHER = LOOKUP.replace(")", ", host='{}')")
CASES: dict[str, Any] = {
    LOOKUP.format("k3s_ingress"): "none",
    LOOKUP.format("k3s_kubeconfig"): "/secrets/kubeconfig",
    LOOKUP.format("nfs_server_uid"): 10001,
    # Made of another default of its role, and of one that the inventory has.
    LOOKUP.format("notebooks_prediction_profiles"): ["thesis", "fast"],
    LOOKUP.format("k3s_disable"): ["local-storage", "metrics-server", "traefik", "servicelb"],
    LOOKUP.format("notebooks_source") + " | basename": "notebooks",
    LOOKUP.format("nfs_server_export"): "/d/x",
    LOOKUP.format("_nfs_server_converted"): "/d/x.before-convert",
    LOOKUP.format("_nfs_server_exports_file"): "/etc/exports.d/edge-ai-cluster.exports",
    ON_ANOTHER.format("nfs_server_export", "PI-02"): "/srv/books",
    ON_ANOTHER.format("k3s_node_name", "PI-02"): "pi-02",
    ON_ANOTHER.format("k3s_node_ip", "PI-02"): "10.0.0.2",
    ON_ANOTHER.format("k3s_ingress", "no-host"): "traefik",
    ON_ANOTHER.format("nfs_server_export", ""): "/d/x",
}


def run(folder: Path, *expressions: str) -> tuple[int, str]:
    """Exit status and output of a play that evaluates expressions for pi-01; their values are in found.json."""
    content = ", ".join(expressions)
    copy = {"content": f"{{{{ [{content}] | to_json }}}}", "dest": f"{folder}/found.json", "mode": "0600"}
    play = {"hosts": "pi-01", "gather_facts": False, "tasks": [{"ansible.builtin.copy": copy}]}
    (folder / "hosts.json").write_text(json.dumps(HOSTS))
    (folder / "play.yml").write_text(json.dumps([play]))
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "default"}
    done = ansible_playbook.run(["-i", "hosts.json", "play.yml"], cwd=folder, env=environment)
    return done.returncode, done.stdout + done.stderr


def test_a_variable_is_the_inventorys_or_the_roles_default(tmp_path: Path) -> None:
    status, output = run(tmp_path, *CASES)
    assert status == 0, output
    assert dict(zip(CASES, json.loads((tmp_path / "found.json").read_text()), strict=True)) == CASES


def test_a_variable_that_no_role_has_is_an_error(tmp_path: Path) -> None:
    for name in ("k3s_verison", "_k3s_verison", "nothing"):
        status, output = run(tmp_path, LOOKUP.format(name))
        assert status == 2
        assert f"no role has a default for '{name}': correct the name" in output


def repeated(text: str, role: str) -> list[str]:
    """Variables of other roles that a text has a default for; an empty one says nothing of what is used."""
    found = re.findall(r"(?<!\w)(\w+)(?: \| bool)? \| default\((?!''|\[\]|\{\})", text)
    return [name for name in found if DEFAULTS.get(name, role) != role]


def test_no_default_of_another_role_is_repeated() -> None:
    assert len(FILES) > 100
    found = {}
    for path in FILES:
        name = path.relative_to(ROOT)
        if names := repeated(path.read_text(), name.parts[1] if name.parts[0] == "roles" else ""):
            found[str(name)] = names
    assert not found, "use the lookup edge_ai.cluster.role_variable instead"
    assert repeated("{{ hostvars[x].k3s_data_dir | default('/x') }}", "nfs_server") == ["k3s_data_dir"]
    assert not repeated("{{ k3s_data_dir | default('/x') }} {{ k3s_disable | default([]) }}", "k3s")


def test_what_is_looked_up_is_a_default_of_another_role() -> None:
    used = {
        (str(path.relative_to(ROOT)), name)
        for path in FILES
        for name in re.findall(r"edge_ai\.cluster\.role_variable', '(\w+)'", path.read_text())
    }
    assert len(used) > 20
    owners = DEFAULTS | COMPUTED
    assert [each for each in used if each[1] not in owners] == []
    assert [each for each in used if each[0].startswith(f"roles/{owners[each[1]]}/")] == []
