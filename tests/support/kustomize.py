"""kustomize on this machine, and tasks of roles that render with it on a board."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.settings import cache_root
from tests.support import ansible_playbook
from tests.support.paths import ROOT

COMMANDS = [["kubectl", "kustomize"], ["kustomize", "build"]]
# Where neither is installed, the lab's k3s has it.
COMMANDS += [[str(program), "kubectl", "kustomize"] for program in sorted(cache_root().glob("k3s-*/k3s"))]
COMMAND = next((command for command in COMMANDS if shutil.which(command[0])), [])

needed = pytest.mark.skipif(
    not COMMAND, reason="neither kubectl nor kustomize is installed, and the lab has built no k3s"
)


def play(
    folder: Path, role: str, output: str, cases: dict[str, dict[str, Any]], **variables: Any
) -> subprocess.CompletedProcess[str]:
    """Run a role's render.yml on this machine instead of a board, with other variables in each case.

    outputs.json then has what `output` evaluates to in each case: all by one start of Ansible. Secrets of the cluster
    are in the folder, or in the case's `case_secrets_dir`.
    """
    tasks: list[dict[str, Any]] = [
        {
            "block": [
                {"ansible.builtin.import_role": {"name": role, "tasks_from": "render"}},
                {"ansible.builtin.set_fact": {f"output_{number}": output}},
            ],
            # Of a block, they replace the roles' internal ones too.
            "vars": case,
        }
        for number, case in enumerate(cases.values())
    ]
    content = ", ".join(f"{json.dumps(name)}: output_{number}" for number, name in enumerate(cases))
    tasks.append(
        {
            "ansible.builtin.copy": {
                "content": "{{ {" + content + "} | to_json }}", "dest": f"{folder}/outputs.json", "mode": "0600"
            }
        }
    )  # fmt: skip
    description = {
        "hosts": "localhost",
        "gather_facts": False,
        "module_defaults": {"edge_ai.cluster.kustomize_render": {"command": COMMAND}},
        "tasks": tasks,
    }
    (folder / "play.yml").write_text(yaml.safe_dump([description]))
    # The lock of a cluster is beside its secrets: two plays of tests at once are in folders of their own.
    secrets = f"{{{{ case_secrets_dir | default('{folder}') }}}}"
    variables = {"ansible_become": False, "cluster_secrets_dir": secrets, **variables}
    (folder / "variables.yml").write_text(yaml.safe_dump(variables))
    return ansible_playbook.run(["-e", f"@{folder}/variables.yml", folder / "play.yml"], cwd=ROOT)
