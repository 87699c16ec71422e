"""Options of ansible-playbook that only a part of the stages would use; variables of inventories are in corpus/."""

import sys
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight import connection
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.connection import (
    PLUGINS,
    check,
    check_flags,
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
    "become_ask_pass": False, "remote_user": None,
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
    ],
)
def test_options_of_which_only_ansible_knows_are_reported(name: str, value: Any, shown: str) -> None:
    assert [text.startswith(f"ansible-playbook: {shown}") for text in options(**{name: value})] == [True]


#: What Ansible has by ansible.cfg.
SETTINGS = {
    "DEFAULT_STRATEGY": "linear",
    "ANY_ERRORS_FATAL": True,
    "CALLBACKS_ENABLED": [f"edge_ai.cluster.{name}" for name in ("one_run", "nothing_done", "typed_options")],
    "DEFAULT_HASH_BEHAVIOUR": "replace",
    "VARIABLE_PLUGINS_ENABLED": ["host_group_vars"],
    "VARIABLE_PRECEDENCE": [
        "all_inventory", "groups_inventory", "all_plugins_inventory", "all_plugins_play", "groups_plugins_inventory",
        "groups_plugins_play",
    ],
    "TASK_TIMEOUT": 0,
    "DEFAULT_KEEP_REMOTE_FILES": False,
    "DEFAULT_EXECUTABLE": "/bin/sh",
    "INTERPRETER_PYTHON": "auto_silent",
    "ssh_args": "-o ControlMaster=auto -o ControlPersist=120s",
    "ssh_common_args": "",
    "ssh_extra_args": "",
    "ssh_executable": "ssh",
    "port": None,
    "private_key_file": None,
    "control_path_dir": "/tmp/.ansible/cp",
    "become_exe": None,
    "become_user": "root",
    "sudo_chdir": None,
    "control_path": None,
    "host_key_checking": True,
    "remote_tmp": "~/.ansible/tmp",
    "DEFAULT_PRIVATE_ROLE_VARS": False,
    "HOST_PATTERN_MISMATCH": "warning",
    "ENABLE_TASK_DEBUGGER": False,
    "INVENTORY_ENABLED": ["host_list", "script", "auto", "yaml", "ini", "toml"],
    "YAML_FILENAME_EXTENSIONS": [".yml", ".yaml", ".json"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"DEFAULT_STRATEGY": "mitogen_linear"}, None),
        ({"VARIABLE_PLUGINS_ENABLED": ["ansible.builtin.host_group_vars"], "DEFAULT_EXECUTABLE": "/bin/bash"}, None),
        ({"DEFAULT_STRATEGY": "free"}, "strategy = free: stages need all boards"),
        ({"ANY_ERRORS_FATAL": False}, "any_errors_fatal = false: other boards would go on"),
        ({"CALLBACKS_ENABLED": ["timer"]}, 'callbacks_enabled = ["timer"]: without those'),
        ({"DEFAULT_HASH_BEHAVIOUR": "merge"}, "hash_behaviour = merge: dictionaries of several files"),
        ({"VARIABLE_PLUGINS_ENABLED": []}, "vars_plugins_enabled = []: group_vars and host_vars would not be read"),
        ({"VARIABLE_PRECEDENCE": ["all_inventory"]}, 'precedence = ["all_inventory"]: variables of the inventory'),
        (
            {"TASK_TIMEOUT": 3},
            "task_timeout = 3: tasks that wait for boards would be ended; unset ANSIBLE_TASK_TIMEOUT",
        ),
        ({"DEFAULT_EXECUTABLE": "/bin/fish"}, "executable = /bin/fish: stages run commands of sh"),
        ({"INTERPRETER_PYTHON": "/usr/bin/python2"}, "interpreter_python = /usr/bin/python2: boards do not have this"),
        ({"INTERPRETER_PYTHON": "/usr/bin/python3.13"}, None),
        ({"INTERPRETER_PYTHON": "/opt/python"}, "interpreter_python = /opt/python: boards do not have this Python"),
        ({"ssh_args": "-o ProxyJump=gate"}, "ssh_args = -o ProxyJump=gate: only Ansible itself would use it"),
        ({"ssh_common_args": "-J gate"}, "ssh_common_args = -J gate: only Ansible itself would use it"),
        ({"ssh_extra_args": "-J gate"}, "ssh_extra_args = -J gate: only Ansible itself would use it"),
        ({"ssh_executable": "dbclient"}, "ssh_executable = dbclient: only Ansible itself would use it"),
        ({"control_path_dir": "/tmp/" + "x" * 90}, "control_path_dir = /tmp/xxx"),
        ({"control_path_dir": "/dev/null/cp"}, "control_path_dir = /dev/null/cp: no directory of ssh's sockets can be"),
        ({"host_key_checking": False}, "host_key_checking = false: passwords and tokens would be sent to boards whose"),
        ({"remote_tmp": "/var/tmp/of ada"}, "remote_tmp = /var/tmp/of ada: a shell would read it as something else"),
        ({"remote_tmp": "/tmp/a;b"}, "remote_tmp = /tmp/a;b: a shell would read it as something else"),
        ({"remote_tmp": ""}, 'remote_tmp = "": a shell would read it as something else'),
        ({"remote_tmp": "/var/tmp/$USER-böden_1.2"}, None),
        (
            {"DEFAULT_PRIVATE_ROLE_VARS": True},
            "private_role_vars = true: stages use variables of roles that ran before",
        ),
        ({"HOST_PATTERN_MISMATCH": "error"}, "host_pattern_mismatch = error: a stage for which there is no board"),
        ({"HOST_PATTERN_MISMATCH": "ignore"}, None),
        ({"ENABLE_TASK_DEBUGGER": True}, "enable_task_debugger = true: a task that fails would wait for commands"),
        ({"INVENTORY_ENABLED": ["ini"]}, 'enable_plugins = ["ini"]: inventories in YAML and INI format would not be'),
        ({"INVENTORY_ENABLED": ["ansible.builtin.yaml", "ini", "constructed"]}, None),
        (
            {"YAML_FILENAME_EXTENSIONS": [".yaml"]},
            'yaml_valid_extensions = [".yaml"]: files of the inventory would not',
        ),
        ({"become_exe": "doas"}, "become_exe = doas: stages become root by sudo; unset ANSIBLE_BECOME_EXE"),
        ({"become_user": "admin"}, "become_user = admin: tasks that become root would run as another user; unset"),
        ({"sudo_chdir": "/srv"}, "sudo_chdir = /srv: sudo takes no directory"),
        ({"ssh_args": "-o ControlPath=/tmp/mux"}, "ssh_args = -o ControlPath=/tmp/mux: all boards have this path"),
        ({"ssh_args": "-o ControlMaster=auto -o 'ControlPath ~/.ssh/%r@%h'"}, None),
        ({"ssh_args": "-o ControlPath=none"}, None),
        ({"control_path": "/tmp/mux"}, "control_path = /tmp/mux: all boards have this path"),
        ({"control_path": "%(directory)s/%%h-%%r"}, None),
        ({"DEFAULT_KEEP_REMOTE_FILES": True}, "keep_remote_files = true: passwords and tokens of tasks would stay"),
        ({"port": 2222}, "port = 2222: only Ansible itself would use it"),
        ({"private_key_file": "other"}, "private_key_file = other: only Ansible itself would use it"),
    ],
)
def test_settings_of_the_environment_are_those_of_the_project(given: dict[str, Any], problem: str | None) -> None:
    report = Report()
    check_settings({**SETTINGS, **given}, report)
    found = [str(finding) for finding in report.findings()]
    expected = [f"ansible.cfg, environment or command line: {problem}"] if problem else []
    assert [text[: len(start)] for text, start in zip(found, expected, strict=True)] == expected


def test_ansible_has_the_settings_that_are_checked() -> None:
    from ansible import constants
    from ansible.plugins.loader import become_loader, connection_loader, init_plugin_loader, shell_loader

    init_plugin_loader()
    connection_loader.get("ssh", class_only=True)
    become_loader.get("sudo", class_only=True)
    shell_loader.get("sh", class_only=True)
    kinds = (("connection", "ssh"), ("become", "sudo"), ("shell", "sh"))
    options = [constants.config.get_plugin_options(*each) for each in kinds]
    assert {*(rule.name for rule in PLUGINS), "become_flags", "become_pass"} <= set().union(*options)
    assert all(hasattr(constants, name) for name in connection.SETTINGS)


def inventory(*given: Setting) -> Inventory:
    settings = {"ansible_user": Setting("ansible_user", "pi", Place("all.yml"))}
    settings |= {each.name: each for each in given}
    host = Host("pi-01", Place("hosts.yml"), frozenset(), settings)
    return Inventory(Place("hosts.yml"), {"pi-01": host}, {}, {}, ())


def board(name: str, value: Any, *, plain: bool = True) -> list[str]:
    report = Report()
    check(inventory(Setting(name, value, Place("boards.yml", 3), plain=plain)), report)
    return [str(finding) for finding in report.findings()]


def test_python_of_the_control_node_is_not_that_of_boards() -> None:
    assert board("ansible_python_interpreter", "/usr/bin/python3") == []
    (text,) = board("ansible_python_interpreter", sys.executable)
    assert "this is the control node's Python, which boards do not have; write it for localhost only" in text


@pytest.mark.parametrize(
    ("value", "works"),
    [
        ("auto", True), ("auto_silent", True), ("python3", True), ("/usr/bin/python3.13", True),
        ("/opt/venv/bin/python", True), ("/usr/bin/env python3", True),
        ("", False), (" ", False), ("python2", False), ("/usr/bin/python2.7", False), ("/usr/bin/perl", False),
    ],
)  # fmt: skip
def test_the_interpreter_of_boards_is_a_python_3(value: str, works: bool) -> None:
    problem = "not a Python 3; delete it, or write such as /usr/bin/python3"
    assert [problem in text for text in board("ansible_python_interpreter", value)] == [True] * (not works)


def test_an_encrypted_password_for_ssh_is_reported_without_its_value() -> None:
    assert board("ansible_ssh_pass", None) == []
    (text,) = board("ansible_ssh_pass", None, plain=False)
    assert text.startswith("boards.yml:3: ansible_ssh_pass = (not shown): stages log in by key")


AT_A_TERMINAL = "sudo would ask for its password at a terminal, and there is none"
INLINE = Setting("ansible_become_password", "x", Place("boards.yml"))
VAULT = Setting("ansible_become_pass", None, Place("boards.yml"), plain=False)
EMPTY = Setting("ansible_become_password", "", Place("boards.yml"))
ASKED, FROM_FILE = {"become_ask_pass": True}, {"become_password_file": "password.txt"}


@pytest.mark.parametrize(
    ("flags", "variables", "arguments", "works"),
    [
        # sudo needs no password, or reads it.
        ("-H", [], {}, True),
        ("-H -n", [EMPTY], {}, True),
        ("-H", [INLINE, Setting("ansible_user", "root", Place("boards.yml"))], {}, True),
        ("-HS", [INLINE], ASKED, True),
        ("-H", [INLINE], {}, False),
        ("-H", [VAULT], {}, False),
        ("-H", [Setting("ansible_sudo_pass", "x", Place("boards.yml"))], {}, False),
        ("-H", [], ASKED, False),
        ("-H", [], FROM_FILE, False),
    ],
)
def test_flags_of_sudo_matter_where_there_is_a_password(
    flags: str, variables: list[Setting], arguments: dict[str, Any], works: bool
) -> None:
    def found(*given: Setting, default: str) -> list[str]:
        report, settings = Report(), {"become_flags": default, "become_pass": None}
        check_flags(inventory(*variables, *given), {**DEFAULTS, **arguments}, settings, report)
        return [str(finding) for finding in report.findings()]

    expected = [] if works else [f"ansible_become_flags = {flags}: {AT_A_TERMINAL}; delete it, or have -S in it"]
    own = Setting("ansible_become_flags", flags, Place("boards.yml", 3))
    assert found(own, default="-H -S -n") == [f"boards.yml:3: {each}" for each in expected]
    # A board's own are used instead of those of the environment.
    assert found(Setting("ansible_become_flags", "-S", Place("boards.yml")), default=flags) == []
    assert [AT_A_TERMINAL in text for text in found(default=flags)] == [True] * (not works)


def test_a_password_of_the_environment_is_one_of_all_boards() -> None:
    report = Report()
    check_flags(inventory(), DEFAULTS, {"become_flags": "-H", "become_pass": "x"}, report)
    (text,) = [str(finding) for finding in report.findings()]
    assert text == (
        f"ansible.cfg, environment or command line: become_flags = -H: {AT_A_TERMINAL}; unset ANSIBLE_BECOME_FLAGS, or "
        "have -S in it"
    )
