"""The report, made of this machine as if it were a board, and of a board that was not reached."""

import json
import platform
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import ansible_playbook
from tests.support.paths import ROOT

HOSTILE = "<script>alert(1)</script> at 192.168.7.7 by ada"
TESTS = """\
=========================== short test summary info ============================
PASSED tests/default/test_boards.py::test_no_swap_is_on[pi-01]
SKIPPED [1] tests/default/test_storage.py:50: needs another machine
FAILED tests/default/test_boards.py::test_clock_is_synchronised[pi-01] - AssertionError: no at 192.168.7.7
1 failed, 1 passed, 1 skipped in 9.99s
"""


def play(directory: Path) -> list[dict[str, Any]]:
    """Playbook: what hardware-check.yml does of the role, without a cluster."""

    def role(name: str, tasks: str, **more: Any) -> dict[str, Any]:
        return {"ansible.builtin.include_role": {"name": name, "tasks_from": tasks}, **more}

    inspect = [
        role("raspberry_pi", "info"),
        {"ansible.builtin.set_fact": {"cluster_check_problems": [f"unit x has failed: {HOSTILE}"]}},
        role("hardware_check", "board"),
    ]
    report = {
        "block": [{"ansible.builtin.import_role": {"name": "hardware_check", "tasks_from": "report"}}],
        "run_once": True, "delegate_to": "localhost",
        "vars": {"hardware_check_tests": TESTS,
                 "hardware_check_cluster": "  pi-01: x\n  Node pi-02 is bad\n  pod x is bad\n"},
    }  # fmt: skip
    return [
        {
            "hosts": "cluster", "gather_facts": False,
            "tasks": [{"block": inspect, "when": "inventory_hostname == 'pi-01'"}, report],
        }
    ]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with the report."""
    directory = tmp_path_factory.mktemp("report")
    (directory / "durations.json").write_text('{"site.yml|stage|Install k3s": 93.5, "p.yml|task|x": 1.0}')
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
    settings = {
        "cluster_root": str(directory), "cluster_name": "smith-family",
        "cluster_results_dir": str(directory / "results"),
        "hardware_check_durations": str(directory / "durations.json"), "hardware_check_directory": str(directory),
        "ansible_user": "ada", "flash_gateway": "192.168.7.1",
    }  # fmt: skip
    boards = {"pi-01": {**local, "ansible_host": "192.168.7.7"}, "pi-02": {**local, "ansible_host": "192.168.7.8"}}
    inventory = {"all": {"hosts": {"localhost": local}, "children": {"cluster": {"hosts": boards}}, "vars": settings}}
    (directory / "hosts.yml").write_text(yaml.safe_dump(inventory))
    (directory / "play.yml").write_text(yaml.safe_dump(play(directory)))
    done = ansible_playbook.run(["-i", directory / "hosts.yml", directory / "play.yml"], cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


@pytest.fixture(scope="module")
def report(made: Path) -> Any:
    return json.loads((made / "results/hardware-check/report.json").read_text())


def test_board_is_described_and_measured(report: Any) -> None:
    rows = {row["what"]: row for row in report["boards"]["pi-01"]}
    assert rows["kernel"]["value"] == platform.release()
    assert rows["model"]["good"] is ("Raspberry Pi" in rows["model"]["value"])
    for what in ("card: write", "card: read", "card: small synced writes"):
        assert float(rows[what]["value"].split()[0]) > 0 and rows[what]["good"] in (True, False), rows[what]


def test_what_is_not_installed_is_unknown_and_not_red(report: Any) -> None:
    rows = {row["what"]: row for row in report["boards"]["pi-01"]}
    for what, value in (("kernel for k3s (k3s check-config)", "not in this k3s"), ("k3s: import of images", "unknown")):
        assert rows[what] == {"what": what, "value": value, "good": None, "remedy": ""}


def test_answers_of_a_board_are_understood(tmp_path: Path) -> None:
    """What k3s, cloud-init and systemd print there, through the role's own expressions."""
    said = {
        "check_config": (4, "Generally Necessary:\n- cgroup hierarchy: cgroups V2 mounted\n"
                            "- \x1b[37mCONFIG_VETH\x1b[m: \x1b[31mmissing (fail)\x1b[m\n"
                            "- CONFIG_VXLAN: enabled\n" + " " * 300_000 + "x\n\nSTATUS: 1 (fail)"),
        "cloud_init": (2, '{"status": "done", "extended_status": "degraded done", "errors": []}'),
        "room": (0, "Avail\n1767"),
        "k3s": (0, "InactiveExitTimestampMonotonic=23000000\nActiveEnterTimestampMonotonic=63500000\n\n"
                   "InactiveExitTimestampMonotonic=0\nActiveEnterTimestampMonotonic=0"),
        "imports": (0, 'level=info msg="Imported images from /var/lib/rancher/k3s/agent/images/a.tar in 1m12.345s"'),
        "temperature": (127, ""),
    }  # fmt: skip
    names = ("said", "missing", "cloud_init", "start", "import_seconds")
    results = [{"item": {"key": key}, "rc": code, "stdout": text} for key, (code, text) in said.items()]
    tasks = [
        {
            "ansible.builtin.copy": {
                "dest": str(tmp_path / "found.json"), "mode": "0644",
                "content": "{{ {" + ", ".join(f"'{name}': _hardware_check_{name}" for name in names) + "} | to_json }}",
            }
        }
    ]  # fmt: skip
    (tmp_path / "play.yml").write_text(
        yaml.safe_dump(
            [
                {
                    "hosts": "localhost", "gather_facts": False, "tasks": tasks,
                    "vars_files": [str(ROOT / "roles/hardware_check/vars/main.yml")],
                    "vars": {
                        "__hardware_check_asked": {"results": results},
                        "ansible_python_interpreter": sys.executable,
                    },
                }
            ]
        )
    )  # fmt: skip
    done = ansible_playbook.run(["-i", "localhost,", "-c", "local", tmp_path / "play.yml"], cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["missing"] == ["CONFIG_VETH: missing (fail)"]
    assert found["cloud_init"]["status"] == "done"
    assert (found["start"], found["import_seconds"]) == (40.5, ["1m12.345s"])
    assert (found["said"]["room"], found["said"]["temperature"]) == ("1767", "")


def test_file_of_the_measurement_is_removed(made: Path) -> None:
    assert not list(made.glob("hardware-check-*"))


def test_board_that_was_not_reached_is_red(report: Any) -> None:
    (row,) = report["boards"]["pi-02"]
    assert row["good"] is False and "does not answer" in row["value"]


def test_tests_stages_and_problems_of_the_cluster_are_there(report: Any) -> None:
    assert (report["tests"]["passed"], report["tests"]["skipped"]) == (1, 1)
    assert report["tests"]["failed"] == [
        "tests/default/test_boards.py::test_clock_is_synchronised[pi-01] - AssertionError: no at <name>"
    ]
    assert report["stages"] == {"site.yml|stage|Install k3s": 93.5}
    assert report["cluster"] == ["Node pi-02 is bad", "pod x is bad"]


def test_nothing_tells_who_or_where(made: Path) -> None:
    for name in ("report.json", "report.html"):
        text = (made / "results/hardware-check" / name).read_text()
        for word in ("192.168.", "ada", "smith-family", platform.node(), str(made)):
            assert word not in text, (name, word)


def test_what_a_board_says_is_no_markup(made: Path) -> None:
    text = (made / "results/hardware-check/report.html").read_text()
    assert "<script" not in text and "&lt;script&gt;" in text
