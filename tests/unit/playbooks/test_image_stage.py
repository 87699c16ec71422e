"""Which images each board gets: playbooks/stages/vars/images.yml decides by profiles, overlay and role of the board."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import ansible_playbook
from tests.support.paths import ROOT

BOTH, LARGE, SMALL = ["tensorflow", "lite"], ["tensorflow"], ["lite"]
BOARDS = ["pi-01", "pi-02", "pi-03", "pi-05", "pi-06"]


# Variables of the cluster, and the images of each board.
CASES: list[tuple[dict[str, Any], list[list[str]]]] = [
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
    # A copy of it elsewhere.
    (
        {
            "notebooks_profiles": ["fast"],
            "notebooks_prediction_profiles": ["lite"],
            "manifests_overlay": "/home/me/lite",
        },
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
    # The other profiles are the role's default.
    ({"notebooks_board_profiles": ["lite"], "manifests_overlay": "lite"}, [BOTH, BOTH, BOTH, BOTH, BOTH]),
]


def needed(folder: Path, cases: list[dict[str, Any]]) -> list[list[list[str]]]:
    """Each case's images of the boards of a cluster in which pi-05 joins and is to predict, and pi-06 has no role."""
    (play,) = yaml.safe_load((ROOT / "playbooks/stages/image.yml").read_text())
    play["vars_files"] = [str(ROOT / "playbooks/stages" / name) for name in play["vars_files"]]
    play |= {"gather_facts": False, "become": False}
    del play["roles"]
    plays = [
        {
            **play,
            "vars": variables,
            "tasks": [{"ansible.builtin.set_fact": {f"case_{number}": "{{ container_image_needed }}"}}],
        }
        for number, variables in enumerate(cases)
    ]
    found = f"{{{{ {BOARDS} | map('extract', hostvars) | map(attribute=item) }}}}"
    plays.append(
        {
            "hosts": "localhost",
            "gather_facts": False,
            "tasks": [
                {
                    "ansible.builtin.set_fact": {"found": "{{ found | default([]) + [images] }}"},
                    "vars": {"images": found},
                    "loop": [f"case_{number}" for number in range(len(cases))],
                },
                {"ansible.builtin.copy": {"content": "{{ found }}", "dest": f"{folder}/found", "mode": "0600"}},
            ],
        }
    )
    (folder / "play.yml").write_text(yaml.safe_dump(plays))
    boards = {
        "hosts": dict.fromkeys(("pi-01", "pi-02", "pi-03", "pi-06"))
        | {"pi-05": {"node_labels_labels": {"role": "prediction"}}}
    }
    groups = {"cluster": boards, "joining": {"hosts": {"pi-05": None, "pi-06": None}}}
    groups |= {"k3s_servers": {"hosts": {"pi-01": None}}}
    groups |= {"training": {"hosts": {"pi-02": None}}, "prediction": {"hosts": {"pi-03": None}}}
    everything = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    inventory = {"all": {"children": groups, "vars": everything}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    done = ansible_playbook.run(["-i", folder / "hosts.yml", folder / "play.yml"], cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    images: list[list[list[str]]] = json.loads((folder / "found").read_text())
    return images


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[list[list[str]]]:
    return needed(tmp_path_factory.mktemp("images"), [variables for variables, _ in CASES])


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: json.dumps(CASES[number][0]))
def test_each_board_gets_what_its_pods_need(found: list[list[list[str]]], number: int) -> None:
    assert found[number] == CASES[number][1]
