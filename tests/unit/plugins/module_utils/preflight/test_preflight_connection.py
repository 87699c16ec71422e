"""Options of ansible-playbook that only a part of the stages would use; variables of inventories are in corpus/."""

import sys
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.connection import (
    check,
    check_options,
    check_settings,
)
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.model import (
    Host,
    Inventory,
    Place,
    Report,
    Setting,
)

#: What ansible-playbook has without any option.
DEFAULTS = {
    "become": False, "become_user": None, "become_method": "sudo", "connection": "ssh", "ask_pass": False,
    "ssh_common_args": None, "ssh_extra_args": None, "become_ask_pass": False, "remote_user": None,
}  # fmt: skip


def options(**given: Any) -> list[str]:
    report = Report()
    check_options({**DEFAULTS, **given}, report)
    return [str(finding) for finding in report.findings()]


def test_options_that_work_are_no_error() -> None:
    assert options(become_ask_pass=True, connection="smart", become_user="root") == []


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("become", True, "--become: tasks of the control node would run as root too; omit --become (-b)"),
        ("become_user", "admin", "--become-user = admin: "),
        ("become_method", "su", "--become-method = su: "),
        ("connection", "local", "--connection = local: "),
        ("ask_pass", True, "--ask-pass: stages log in by key, and would be refused; have the boards accept a key"),
        ("ssh_common_args", "-J gate", "--ssh-common-args = -J gate: "),
        ("ssh_extra_args", "-J gate", "--ssh-extra-args = -J gate: "),
    ],
)
def test_options_of_which_only_ansible_knows_are_reported(name: str, value: Any, shown: str) -> None:
    assert [text.startswith(f"ansible-playbook: {shown}") for text in options(**{name: value})] == [True]


SETTINGS = {
    "strategy": "linear",
    "any_errors_fatal": True,
    "callbacks_enabled": ["edge_ai.cluster.one_run", "edge_ai.cluster.nothing_done", "edge_ai.cluster.typed_options"],
}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"strategy": "mitogen_linear"}, None),
        ({"strategy": "free"}, "ansible.cfg: strategy = free: stages need all boards"),
        ({"any_errors_fatal": False}, "ansible.cfg: any_errors_fatal = false: other boards would go on"),
        ({"callbacks_enabled": ["timer"]}, 'ansible.cfg: callbacks_enabled = ["timer"]: without those'),
    ],
)
def test_settings_of_the_environment_are_those_of_the_project(given: dict[str, Any], problem: str | None) -> None:
    report = Report()
    check_settings({**SETTINGS, **given}, report)
    found = [str(finding) for finding in report.findings()]
    assert [text.startswith(problem or "") for text in found] == [True] * bool(problem)


def board(name: str, value: Any, *, plain: bool = True) -> list[str]:
    settings = {"ansible_user": Setting("ansible_user", "pi", Place("all.yml"))}
    settings[name] = Setting(name, value, Place("boards.yml", 3), plain=plain)
    host = Host("pi-01", Place("hosts.yml"), frozenset(), frozenset(), settings)
    report = Report()
    check(Inventory(Place("hosts.yml"), {"pi-01": host}, {}, {}, ()), report)
    return [str(finding) for finding in report.findings()]


def test_python_of_the_control_node_is_not_that_of_boards() -> None:
    assert board("ansible_python_interpreter", "/usr/bin/python3") == []
    (text,) = board("ansible_python_interpreter", sys.executable)
    assert "this is the control node's Python, which boards do not have; write it for localhost only" in text


def test_an_encrypted_password_for_ssh_is_reported_without_its_value() -> None:
    assert board("ansible_ssh_pass", None) == []
    (text,) = board("ansible_ssh_pass", None, plain=False)
    assert text.startswith("boards.yml:3: ansible_ssh_pass = (not shown): stages log in by key")
