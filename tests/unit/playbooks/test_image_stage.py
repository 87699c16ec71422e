"""Which images each board gets: playbooks/stages/vars/images.yml decides by profiles, overlay and role of the board."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

BOTH, LARGE, SMALL = ["tensorflow", "lite"], ["tensorflow"], ["lite"]


def needed(folder: Path, variables: dict[str, Any]) -> dict[str, list[str]]:
    """The images of each board of a cluster in which pi-05 joins and is to predict, and pi-06 has no role."""
    (play,) = yaml.safe_load((ROOT / "playbooks/stages/image.yml").read_text())
    content = "{{ container_image_needed | to_json }}"
    task = {
        "ansible.builtin.copy": {"content": content, "dest": f"{folder}/{{{{ inventory_hostname }}}}", "mode": "0600"}
    }
    play["vars_files"] = [str(ROOT / "playbooks/stages" / name) for name in play["vars_files"]]
    play |= {"gather_facts": False, "become": False, "tasks": [task]}
    del play["roles"]
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    boards = {
        "hosts": dict.fromkeys(("pi-01", "pi-02", "pi-03", "pi-06"))
        | {"pi-05": {"node_labels_labels": {"role": "prediction"}}}
    }
    groups = {"cluster": boards, "joining": {"hosts": {"pi-05": None, "pi-06": None}}}
    groups |= {"k3s_servers": {"hosts": {"pi-01": None}}}
    groups |= {"training": {"hosts": {"pi-02": None}}, "prediction": {"hosts": {"pi-03": None}}}
    everything = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    inventory = {"all": {"children": groups, "vars": everything | variables}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    command = ["ansible-playbook", "-i", str(folder / "hosts.yml"), str(folder / "play.yml")]
    environment = {"PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}", "HOME": str(folder)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: json.loads((folder / name).read_text()) for name in sorted(boards["hosts"])}


@pytest.mark.parametrize(
    ("variables", "images"),
    [
        ({}, [LARGE, LARGE, LARGE, LARGE, LARGE]),
        # A prediction of fast on the same boards, and a Jupyter.
        ({"notebooks_profiles": ["fast", "lite"]}, [LARGE, LARGE, BOTH, BOTH, BOTH]),
        # The Jupyter of the overlay split.
        ({"notebooks_profiles": ["fast"], "notebooks_prediction_profiles": ["lite"]}, [LARGE, LARGE, BOTH, BOTH, BOTH]),
        (
            {
                "notebooks_profiles": ["fast"],
                "notebooks_prediction_profiles": ["lite"],
                "manifests_overlay": "lite",
            },
            # Only boards with the label are spared what any other pod may need. All have the status page.
            [BOTH, BOTH, SMALL, SMALL, BOTH],
        ),
        (
            {"notebooks_profiles": ["fast", "lite"], "manifests_overlay": "lite", "manifests_status_page": False},
            [LARGE, LARGE, BOTH, BOTH, BOTH],
        ),
        (
            {"notebooks_profiles": ["fast", "lite"], "manifests_overlay": "lite", "k3s_ingress": "none"},
            [LARGE, LARGE, BOTH, BOTH, BOTH],
        ),
        # The first server alone.
        ({"manifests_overlay": "hub"}, [[*LARGE, "hub"], LARGE, LARGE, LARGE, LARGE]),
        (
            {"manifests_overlay": "/home/me/hub", "notebooks_board_profiles": ["lite"]},
            [[*LARGE, "hub"], LARGE, BOTH, BOTH, BOTH],
        ),
        ({"notebooks_board_profiles": ["lite"]}, [LARGE, LARGE, BOTH, BOTH, BOTH]),
    ],
)
def test_each_board_gets_what_its_pods_need(tmp_path: Path, variables: dict[str, Any], images: list[list[str]]) -> None:
    assert needed(tmp_path, variables) == dict(zip(("pi-01", "pi-02", "pi-03", "pi-05", "pi-06"), images, strict=True))
