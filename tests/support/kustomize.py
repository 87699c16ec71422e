"""kustomize on this machine, and tasks of roles that render with it on a board."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

PROGRAMS = {"kubectl": ["kubectl", "kustomize"], "kustomize": ["kustomize", "build"]}
COMMAND = next((command for program, command in PROGRAMS.items() if shutil.which(program)), [])

needed = pytest.mark.skipif(not COMMAND, reason="neither kubectl nor kustomize is installed")


def play(folder: Path, role: str, output: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    """Run a role's render.yml on this machine instead of a board; output.yml then has what `output` evaluates to."""
    tasks = [
        {"ansible.builtin.import_role": {"name": role, "tasks_from": "render"}},
        {"ansible.builtin.copy": {"content": output, "dest": f"{folder}/output.yml", "mode": "0600"}},
    ]
    description = {
        "hosts": "localhost",
        "gather_facts": False,
        "module_defaults": {"edge_ai.cluster.kustomize_render": {"command": COMMAND}},
        "tasks": tasks,
    }
    (folder / "play.yml").write_text(yaml.safe_dump([description]))
    # As extra variables they replace the roles' internal ones too.
    variables = {"ansible_become": False, "cluster_secrets_dir": str(folder), **variables}
    (folder / "variables.yml").write_text(yaml.safe_dump(variables))
    environment = {
        "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}",
        "HOME": str(folder),
        "ANSIBLE_ROLES_PATH": str(ROOT / "roles"),
        "COLUMNS": "1000",
    }
    command = ["ansible-playbook", "-e", f"@{folder}/variables.yml", str(folder / "play.yml")]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
