"""The report of check.yml, and its exit status: the role against an API that answers as a test says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import ansible_playbook
from tests.support.api import APPS, Api, deployment, serving

BOARD = {
    "disk_percent": 40,
    "certificates_end": "2027-11-01",
    "kept": ["/srv/old is kept from before (5 MB): remove it"],
}


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as found:
        # No Jupyter: nothing of it answers here.
        found.answers[f"{APPS}/deployments"] = {"items": [deployment("jupyter", probe="/healthz")]}
        yield found


def check(
    folder: Path, api: Api, others: dict[str, Any] | None = None, options: tuple[str, ...] = (), **variables: Any
) -> tuple[int, str]:
    """Exit status and output of the role for one board; `others` are hosts with variables of their own."""
    (folder / "kubeconfig").write_text(api.kubeconfig())
    inventory = {
        "all": {
            "hosts": others or {},
            "children": {name: {"hosts": {"pi-01": None}} for name in ("cluster", "k3s_servers", "nfs_servers")},
            "vars": {
                "ansible_connection": "local",
                "ansible_python_interpreter": "{{ ansible_playbook_python }}",
                "ansible_host": "10.0.0.1",
                "cluster_name": "home",
                "cluster_secrets_dir": str(folder),
                "cluster_backups_dir": str(folder / "backups"),
                "cluster_check_problems": [],
                "__cluster_check_board": BOARD,
                **variables,
            },
        }
    }
    role = {"name": "Report", "ansible.builtin.import_role": {"name": "cluster_check"}}
    play = {"name": "Check", "hosts": "cluster", "gather_facts": False, "tasks": [role]}
    (folder / "hosts.json").write_text(json.dumps(inventory))
    (folder / "play.yml").write_text(json.dumps([play]))
    done = ansible_playbook.run(
        ["-i", "hosts.json", "play.yml", *options],
        cwd=folder,
    )
    return done.returncode, done.stdout + done.stderr


def test_all_is_well_is_said_of_what_was_looked_at(api: Api, tmp_path: Path) -> None:
    code, text = check(tmp_path, api)
    assert code == 0, text
    assert "home is well: 1 Nodes are Ready, all pods run." in text
    assert "pi-01: fullest disk 40 %, certificates until 2027-11-01" in text
    assert "pi-01: /srv/old is kept from before (5 MB): remove it" in text
    assert "login" not in text.partition("home is well")[2]
    assert f"no backup in {tmp_path}/backups: run ansible-playbook playbooks/backup.yml" in text


def test_the_newest_complete_backup_is_named(api: Api, tmp_path: Path) -> None:
    for stamp, name in (
        ("20261102T101500Z", "manifest.json"),
        ("20261001T101500Z", "manifest.json"),
        ("20261105T101500Z", "x"),
    ):
        (tmp_path / "backups" / stamp).mkdir(parents=True)
        (tmp_path / "backups" / stamp / name).touch()
    code, text = check(tmp_path, api)
    assert code == 0, text
    assert "newest backup: 20261102T101500Z" in text


def test_every_kind_of_problem_is_in_the_report_and_fails(api: Api, tmp_path: Path) -> None:
    (tmp_path / "ingress.crt").write_text("nothing")
    api.answers[f"{APPS}/deployments"] = {"items": []}
    code, text = check(tmp_path, api, cluster_check_problems=["swap is on"])
    assert code == 2
    for words in (
        "home has 3 problems:",
        "pi-01: swap is on",
        "Deployment edge-ai/jupyter was deleted: run ansible-playbook site.yml",
        f"{tmp_path}/ingress.crt holds no certificate",
    ):
        assert words in text, text


def test_no_text_of_a_board_begins_a_line_about_another(api: Api, tmp_path: Path) -> None:
    forged = "swap is on\n  pi-02: run this there\x1b[2J"
    code, text = check(tmp_path, api, cluster_check_problems=[forged])
    assert code == 2
    assert "home has 1 problem:" in text and r"pi-01: swap is on\n  pi-02: run this there\x1b[2J" in text, text
    code, text = check(tmp_path, api, __cluster_check_board={key: forged for key in BOARD} | {"kept": [forged]})
    assert code == 0, text
    assert text.count(r"swap is on\n  pi-02: run this there\x1b[2J") == 3, text
    homes = {"homes": {"alice": {"used_mb": forged, "limit_mb": 0}}}
    code, text = check(tmp_path, api, options=("-e", json.dumps({"__cluster_check_homes": homes})))
    assert code == 0, text
    assert r"home of alice: swap is on\n  pi-02: run this there\x1b[2J MB" in text, text


@pytest.mark.parametrize("kubeconfig", [None, "{}"])
def test_a_cluster_that_cannot_be_asked_is_not_well(api: Api, tmp_path: Path, kubeconfig: str | None) -> None:
    path = tmp_path / "other"
    if kubeconfig:
        path.write_text(kubeconfig)
    code, text = check(tmp_path, api, cluster_check_kubeconfig=str(path))
    assert code == 2
    assert "home has 1 problem:" in text and "run site.yml first" in text


def test_an_api_that_fails_is_a_problem(api: Api, tmp_path: Path) -> None:
    api.server.shutdown()
    api.server.server_close()
    code, text = check(tmp_path, api)
    assert code == 2
    assert "the Kubernetes API does not answer as it should" in text


def test_only_homes_of_people_are_measured_whatever_notebooks_make_beside_them(api: Api, tmp_path: Path) -> None:
    homes = tmp_path / "export" / "home"
    (homes / "alice" / "alice").mkdir(parents=True)
    (homes / "alice" / "data").write_bytes(b"x" * (3 << 20))
    (homes / "bob").symlink_to("/usr")
    for name in ("a\n9\t", "alice\n", "malice", "other-1"):
        (homes / name).mkdir()
    code, text = check(
        tmp_path,
        api,
        options=("-v",),  # with what was measured
        ansible_become=False,
        cluster_check_homes=["alice", "bob"],
        cluster_check_export=str(tmp_path / "export"),
    )
    assert code == 0, text
    lines = [line.strip() for line in text.splitlines()]
    assert [line for line in lines if line.startswith("home of")] == ["home of alice: 4 MB"]
    measured = text.partition("Measure people's homes")[2].partition("TASK")[0]
    assert "        alice:\n" in measured
    assert f"home of bob: {homes}/bob: leads over a link" in text
    assert not [name for name in ("9", "malice", "other-1", "bob") if f"        {name}:\n" in measured]


def test_the_export_is_that_of_the_nfs_server(api: Api, tmp_path: Path) -> None:
    """A directory that is written for that board alone: what asks is another board."""
    (tmp_path / "export" / "home" / "alice").mkdir(parents=True)
    others = {"pi-02": {"nfs_server_export": str(tmp_path / "export")}}
    code, text = check(
        tmp_path, api, others, ansible_become=False, cluster_check_homes=["alice"], cluster_check_nfs_server="pi-02"
    )
    assert code == 0, text
    assert "home of alice: " in text
