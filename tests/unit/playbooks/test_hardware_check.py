"""hardware-check.yml has failed where it found out nothing about boards."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import yaml

from tests.support import ansible_playbook
from tests.support.paths import ROOT

BOARDS = ("pi-01", "pi-02")
PATHS = ("cluster_root", "cluster_results_dir", "hardware_check_directory")


def check(folder: Path, *inspected: str) -> tuple[int, str]:
    """Exit status and output where no board answers, without preflight, tests and a cluster.

    Of those that are named there are results, as if they had answered.
    """
    _, play = yaml.safe_load((ROOT / "playbooks/hardware-check.yml").read_text())
    play["tasks"][0]["ansible.builtin.wait_for_connection"]["timeout"] = 2
    # Without what asks the cluster before the report is written.
    play["tasks"][2] = play["tasks"][2]["always"][0] | {
        "run_once": True, "delegate_to": "localhost", "vars": {"hardware_check_tests": ""}
    }  # fmt: skip
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
    with socket.create_server(("127.0.0.1", 0)) as free:
        off = {"ansible_host": "127.0.0.1", "ansible_port": free.getsockname()[1]}
    hosts = {name: off | ({"hardware_check_rows": []} if name in inspected else {}) for name in BOARDS}
    variables = {**dict.fromkeys(PATHS, str(folder)), "cluster_name": "home"}
    inventory = {"hosts": {"localhost": local}, "children": {"cluster": {"hosts": hosts}}, "vars": variables}
    (folder / "hosts.json").write_text(json.dumps({"all": inventory}))
    (folder / "play.yml").write_text(json.dumps([play]))
    done = ansible_playbook.run(["-i", "hosts.json", "--timeout=3", "play.yml"], cwd=folder)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_it_fails_with_a_report_where_no_board_answers(tmp_path: Path) -> None:
    code, text = check(tmp_path)
    assert code == 2, text
    assert "None of pi-01, pi-02 was inspected" in text
    assert json.loads((tmp_path / "hardware-check/report.json").read_text())["boards"]


def test_one_board_of_which_there_are_results_is_enough(tmp_path: Path) -> None:
    code, text = check(tmp_path, "pi-02")
    assert code == 0, text
