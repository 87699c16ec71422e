"""A run that did nothing is an error; run as a user runs it, with this project's ansible.cfg."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support import ansible_playbook

INVENTORY = """
[servers]
one
[agents]
[spare]
two
"""
MODULE = """
from ansible.module_utils.basic import AnsibleModule
AnsibleModule({}).exit_json(changed=False)
"""


def play(hosts: str, tag: str, tasks: list[dict[str, object]] | None = None) -> dict[str, object]:
    done = [{"name": f"Done on {hosts}", "ansible.builtin.assert": {"that": True}}]
    return {"name": f"Play of {hosts}", "hosts": hosts, "gather_facts": False, "tags": tag, "tasks": tasks or done}


def run(directory: Path, plays: list[dict[str, object]], *options: str) -> tuple[int, str]:
    (directory / "hosts.ini").write_text(INVENTORY)
    (directory / "flash.yml").write_text(json.dumps(plays))
    python = f"ansible_python_interpreter={sys.executable}"
    done = ansible_playbook.run(
        ["-i", "hosts.ini", "-c", "local", "-e", python, "flash.yml", *options],
        cwd=directory,
        env=ansible_playbook.environment(**ansible_playbook.OWN_OUTPUT),
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("options", [(), ("-l", "one"), ("--tags", "first"), ("-l", "two")])
def test_a_run_that_did_something_succeeds(tmp_path: Path, options: tuple[str, ...]) -> None:
    plays = [play("servers", "first"), play("agents", "second"), play("spare", "third")]
    code, error = run(tmp_path, plays, *options)
    assert code == 0, error
    assert "did nothing" not in error


def test_a_limit_without_hosts_of_the_playbook_fails_and_says_which_it_has(tmp_path: Path) -> None:
    code, error = run(tmp_path, [play("servers", "first"), play("agents", "first")], "-l", "two")
    assert code == 1
    assert "flash.yml did nothing: with --limit two none of its plays has a host and a task." in error
    assert "Play of servers: runs on servers" in error
    assert "two is in the group spare: add-node.yml -l two flashes it" in error
    assert "localhost is the control node" in error


def test_the_validation_of_the_inventory_alone_is_not_something(tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "preflight_inventory.py").write_text(MODULE)
    validation = play("all", "always", [{"name": "Validate", "preflight_inventory": {}}])
    code, error = run(tmp_path, [validation, play("servers", "first")], "-l", "two")
    assert code == 1
    assert "Play of servers: runs on servers" in error
    assert "Play of all" not in error


def test_tags_that_no_play_has_fail_before_anything_is_done(tmp_path: Path) -> None:
    plays = [play("servers", "first"), play("servers", "second")]
    code, error = run(tmp_path, plays, "--tags", "first,secnod", "--skip-tags", "frist,notest")
    assert code == 1
    assert "--tags secnod: flash.yml has no such tag; did you mean second?" in error
    assert "--skip-tags frist: flash.yml has no such tag; did you mean first?" in error
    assert "notest" not in error


def test_tasks_with_every_tag_do_nothing_by_themselves(tmp_path: Path) -> None:
    code, error = run(tmp_path, [play("servers", "always"), play("agents", "first")], "--tags", "first")
    assert code == 1
    assert "with --tags first none of its plays has a host and a task" in error
    assert "--list-tags" in error


@pytest.mark.parametrize("tag", ["never", "untagged", "tagged", "always"])
def test_tags_that_name_no_stage_fail_before_anything_is_done(tmp_path: Path, tag: str) -> None:
    """As rotate.yml --tags always, which made new secrets and gave them to no node."""
    code, error = run(tmp_path, [play("servers", "always"), play("servers", "first")], "--tags", tag)
    assert code == 1
    assert f"--tags {tag} names no stage: name some of first" in error


@pytest.mark.parametrize("tag", ["always", "tagged", "untagged", "all"])
def test_tags_that_leave_the_validation_out_or_all_but_that_fail(tmp_path: Path, tag: str) -> None:
    """As backup.yml --skip-tags all, which ended well without a backup."""
    code, error = run(tmp_path, [play("servers", "first")], "--skip-tags", tag)
    assert code == 1
    assert f"--skip-tags {tag} leaves out the validation, or all but that: name some of first" in error


def test_a_start_elsewhere_leaves_the_validation_out_and_fails(tmp_path: Path) -> None:
    code, error = run(tmp_path, [play("servers", "first")], "--start-at-task", "Done on servers")
    assert code == 1
    assert "--start-at-task leaves out the validation" in error


def test_tasks_are_not_left_out_one_by_one(tmp_path: Path) -> None:
    code, error = run(tmp_path, [play("servers", "first")], "--step")
    assert code == 1
    assert "--step leaves out tasks that the others need" in error


def test_several_playbooks_are_not_run_by_one_command(tmp_path: Path) -> None:
    """As site.yml playbooks/check.yml: the second one has groups and facts of the first."""
    (tmp_path / "check.yml").write_text(json.dumps([play("servers", "first")]))
    code, error = run(tmp_path, [play("servers", "first")], "check.yml")
    assert code == 1
    assert "flash.yml, check.yml: each needs a command of its own" in error


@pytest.mark.parametrize("option", ["--tags", "--skip-tags"])
def test_of_a_playbook_that_changes_the_cluster_as_a_whole_no_part_is_run(tmp_path: Path, option: str) -> None:
    """As move-storage.yml --skip-tags workload, after which no pod found its data."""
    plays = [play("servers", "always") | {"vars": {"preflight_whole": True}}, play("servers", "first")]
    code, error = run(tmp_path, plays, option, "first")
    assert code == 1
    assert f"{option} first: flash.yml changes the cluster as a whole; omit it" in error
    assert run(tmp_path, plays, "--skip-tags", "notest")[0] == 0


def test_groups_without_hosts_fail(tmp_path: Path) -> None:
    code, error = run(tmp_path, [play("agents", "first")])
    assert code == 1
    assert "with this inventory none of its plays" in error


def test_a_playbook_that_failed_says_why_and_no_more(tmp_path: Path) -> None:
    failing = [{"name": "Fails", "ansible.builtin.fail": {"msg": "so"}}]
    code, error = run(tmp_path, [play("servers", "first", failing)])
    assert code == 2
    assert "did nothing" not in error
