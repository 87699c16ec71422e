"""How Ansible logs in and becomes root: settings with which a later stage would fail, or run as the wrong user.

Stages log in by themselves too (flash, backup, image), over ssh with a key, and become root by sudo where they must.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from .model import Host, Inventory, Place, Report
from .paths import nearest_existing

_COMMAND_LINE = Place("ansible-playbook")
_CONFIGURATION = Place("ansible.cfg, environment or command line")
_SSH = ("ssh", "smart", "ansible.builtin.ssh")
_SUDO = ("sudo", "ansible.builtin.sudo")
_OFF = ("false", "no", "off", "0", "f", "n", "")
_BY_KEY = "stages log in by key, and would be refused"
_COPY_KEY = "have the board accept a key (ssh-copy-id), and delete it"
_OTHER_USER = "tasks that become root would run as another user"
_ARGS = "only Ansible itself would use it, not the stages that start ssh themselves"
#: Other names that Ansible has for its variables, and which win over those that stages use.
_OTHER_NAMES = {
    "ansible_ssh_host": "ansible_host",
    "ansible_ssh_port": "ansible_port",
    "ansible_ssh_user": "ansible_user",
    "ansible_private_key_file": "ansible_ssh_private_key_file",
    "ansible_private_key": "ansible_ssh_private_key_file",
    "ansible_ssh_private_key": "ansible_ssh_private_key_file",
    "ansible_sudo_pass": "ansible_become_password",
    "ansible_sudo_user": "ansible_become_user",
}
#: Bytes of the path of ssh's socket: the kernel's 108, less the suffix that ssh adds while it connects.
_SOCKET = 90
_LONG_SOCKETS = "too long for the path of ssh's socket"
_NO_SOCKETS = "no directory of ssh's sockets can be made there"
_REMOTE_TMP = "a shell would read it as something else than a path", "write such as ~/.ansible/tmp"
_ANY_HOST_KEY = "passwords and tokens would be sent to boards whose host key is unknown, too"
_SHELLS = ("sh", "/bin/sh", "/bin/bash", "/usr/bin/bash", "/usr/bin/sh")
# Arguments that say where or through whom ssh connects.
_ROUTE = re.compile(r"proxy|port|hostname|(^|\s)-[JFpl]", re.IGNORECASE)

# What Ansible finds itself, or a program by its name or path, also as `/usr/bin/env python3`.
_PYTHON = re.compile(r"auto[a-z_]*|(.*[/ ])?(python|pypy)(3(\.\d+)*)?")


@dataclass(frozen=True)
class Rule:
    """A variable, the values of it with which all stages work, and what to do about others."""

    name: str
    works: Callable[[Any], bool]
    problem: str
    remedy: str


def _is_off(value: Any) -> bool:
    return str(value).lower() in _OFF


def _never(value: Any) -> bool:
    return not value


def _is_sudo(value: Any) -> bool:
    return value in _SUDO


def _is_program_sudo(value: Any) -> bool:
    return value is None or PurePath(str(value)).name == "sudo"


def _reads_password(value: Any) -> bool:
    return bool(re.search(r"(^|\s)-[a-zA-Z]*S", str(value)))


def _is_ssh(value: Any) -> bool:
    return PurePath(str(value)).name == "ssh"


def _has_short_sockets(value: Any) -> bool:
    return len(os.fsencode(Path(str(value)).expanduser())) <= _SOCKET - len("/0123456789")


def _can_be_made(value: Any) -> bool:
    """Whether this user can make the directory, or write in it."""
    existing = nearest_existing(Path(str(value)).expanduser().absolute())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def _is_shell_path(value: Any) -> bool:
    """Whether a shell takes the path as it is, apart from ~ and names of variables."""
    return bool(re.fullmatch(r"[\w./~$+,:@%-]+", str(value)))


def _says_no_route(value: Any) -> bool:
    return not _ROUTE.search(str(value or ""))


def _has_socket_of_each(value: Any) -> bool:
    """Whether the ControlPath in ssh's arguments, or a path alone, has what differs between hosts."""
    paths = re.findall(r"controlpath[ =]+([^\s'\"]+)", str(value or ""), re.IGNORECASE)
    return all(path == "none" or re.search("%%?[Chnk]", path) for path in paths)


def _is_path_of_each(value: Any) -> bool:
    return _has_socket_of_each(f"ControlPath={value}") if value else True


def _is_shell(value: Any) -> bool:
    return value in _SHELLS


def _is_python3(value: Any) -> bool:
    return bool(_PYTHON.fullmatch(str(value)))


def _is_boards_python(value: Any) -> bool:
    return str(value).startswith(("auto", "/usr/bin/")) and _is_python3(value)


def is_command_line(value: Any) -> bool:
    """Whether ssh's arguments can be split as a shell does."""
    try:
        return bool(shlex.split(str(value))) or not value
    except ValueError:
        return False


#: Hosts that ssh has one socket for are all reached through the first one's connection.
_ONE_SOCKET = "all boards have this path, and would be reached as the first of them"
_OF_EACH = "omit ControlPath, or have %C in it"
#: Where Ansible gives sudo a password.
_NO_TERMINAL = "sudo would ask for its password at a terminal, and there is none"
FLAGS = tuple(
    Rule(name, _reads_password, _NO_TERMINAL, "delete it, or have -S in it")
    for name in ("ansible_become_flags", "ansible_sudo_flags")
)
DEFAULT_FLAGS = Rule("become_flags", _reads_password, _NO_TERMINAL, "unset ANSIBLE_BECOME_FLAGS, or have -S in it")
_PASSWORDS = ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass")
BOARDS = (
    Rule("ansible_connection", lambda value: value in _SSH, "boards are reached by ssh only", "delete it"),
    Rule(
        "ansible_port",
        lambda value: str(value).isascii() and str(value).isdecimal() and 0 < int(value) < 65536,
        "not a port",
        "write a number from 1 to 65535, such as 22",
    ),
    Rule(
        "ansible_user",
        lambda value: isinstance(value, str) and bool(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.@-]*\$?", value)),
        "not a user name",
        "write one word of letters and digits, in quotes if it looks like a number",
    ),
    *(Rule(name, _never, _ARGS, f"write it as {own}") for name, own in _OTHER_NAMES.items()),
    Rule("ansible_password", _never, _BY_KEY, _COPY_KEY),
    Rule("ansible_ssh_pass", _never, _BY_KEY, _COPY_KEY),
    Rule("ansible_ssh_password", _never, _BY_KEY, _COPY_KEY),
    Rule("ansible_ssh_executable", _is_ssh, _ARGS, "delete it, and have OpenSSH's ssh first on PATH"),
    Rule("ansible_become_exe", _is_program_sudo, "stages become root by sudo", "delete it"),
    Rule("ansible_shell_type", _is_shell, "stages run commands of sh", "delete it"),
    Rule("ansible_shell_executable", _is_shell, "stages run commands of sh", "delete it"),
    Rule("ansible_become", lambda value: not _is_off(value), "no task could become root", "delete it"),
    Rule("ansible_become_user", lambda value: value == "root", _OTHER_USER, "delete it"),
    Rule(
        "ansible_become_method",
        _is_sudo,
        "stages become root by sudo",
        "delete it, and have the board's user in its group sudo",
    ),
    Rule("ansible_ssh_args", _says_no_route, _ARGS, "write it as ansible_ssh_common_args"),
    *(
        Rule(name, _has_socket_of_each, _ONE_SOCKET, _OF_EACH)
        for name in ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")
    ),
    Rule("ansible_control_path", _is_path_of_each, _ONE_SOCKET, "delete it, or have %C in it"),
    *(
        Rule(name, _has_short_sockets, _LONG_SOCKETS, "write a shorter path")
        for name in ("ansible_control_path_dir", "ansible_ssh_control_path_dir")
    ),
    *(
        Rule(name, _can_be_made, _NO_SOCKETS, "write a directory that you own, or delete it")
        for name in ("ansible_control_path_dir", "ansible_ssh_control_path_dir")
    ),
    *(
        Rule(name, lambda value: not _is_off(value), _ANY_HOST_KEY, "delete it")
        for name in ("ansible_host_key_checking", "ansible_ssh_host_key_checking")
    ),
    Rule("ansible_sudo_chdir", _never, "sudo takes no directory, unless sudoers has one", "delete it"),
    Rule("ansible_python_interpreter", _is_python3, "not a Python 3", "delete it, or write such as /usr/bin/python3"),
    Rule(
        "ansible_python_interpreter",
        lambda value: value != sys.executable or value.startswith("/usr/bin/"),
        "this is the control node's Python, which boards do not have",
        "write it for localhost only",
    ),
)
#: Of any host: what a shell reads.
_QUOTE = "a quote is not closed", "close it"
ARGUMENTS = (
    Rule("ansible_ssh_common_args", is_command_line, *_QUOTE),
    Rule("ansible_ssh_extra_args", is_command_line, *_QUOTE),
    Rule("cluster_backup_copy_ssh_args", is_command_line, *_QUOTE),
    Rule("ansible_remote_tmp", _is_shell_path, *_REMOTE_TMP),
)
CONTROL_NODE = (
    Rule(
        "ansible_become",
        _is_off,
        "tasks of the control node would run as root, and what they write would be root's",
        "delete it: roles become root on boards where they must",
    ),
)
#: Options of ansible-playbook, by their names in its arguments; variables of ansible.cfg and the environment are their
#: defaults.
OPTIONS = (
    Rule(
        "become",
        _never,
        "tasks of the control node would run as root too",
        "omit --become (-b), and unset ANSIBLE_BECOME",
    ),
    Rule(
        "become_user",
        lambda value: value in (None, "root"),
        _OTHER_USER,
        "omit --become-user, and unset ANSIBLE_BECOME_USER",
    ),
    Rule(
        "become_method",
        lambda value: value is None or _is_sudo(value),
        "stages use sudo",
        "omit --become-method, and unset ANSIBLE_BECOME_METHOD",
    ),
    Rule(
        "connection",
        lambda value: value in (None, *_SSH),
        "boards are reached by ssh only",
        "omit --connection, and unset ANSIBLE_TRANSPORT",
    ),
    Rule(
        "ask_pass",
        _never,
        _BY_KEY,
        "have the boards accept a key (ssh-copy-id), omit --ask-pass (-k), and unset ANSIBLE_ASK_PASS",
    ),
)  # fmt: skip

_CALLBACKS = {f"edge_ai.cluster.{name}" for name in ("typed_options", "nothing_done", "one_run")}
_SOURCES = {"all_inventory", "groups_inventory", "all_plugins_inventory", "groups_plugins_inventory"}
_IN_INVENTORY = "write it in the inventory as"
#: Settings of Ansible by their names in its configuration, which a variable of the environment may have changed.
SETTINGS = {
    "DEFAULT_KEEP_REMOTE_FILES": Rule(
        "keep_remote_files",
        _never,
        "passwords and tokens of tasks would stay in files, on boards and here",
        "unset ANSIBLE_KEEP_REMOTE_FILES",
    ),
    "DEFAULT_STRATEGY": Rule(
        "strategy",
        lambda value: str(value).endswith("linear"),
        "stages need all boards to be done with a task before the next one",
        "unset ANSIBLE_STRATEGY",
    ),
    "ANY_ERRORS_FATAL": Rule(
        "any_errors_fatal", bool, "other boards would go on when one fails", "unset ANSIBLE_ANY_ERRORS_FATAL"
    ),
    "CALLBACKS_ENABLED": Rule(
        "callbacks_enabled",
        lambda value: set(value) >= _CALLBACKS,
        "without those of ansible.cfg, runs are not locked, and -e name=value has no type",
        f"unset ANSIBLE_CALLBACKS_ENABLED, or have {', '.join(sorted(_CALLBACKS))} in it",
    ),
    "DEFAULT_HASH_BEHAVIOUR": Rule(
        "hash_behaviour",
        lambda value: value == "replace",
        "dictionaries of several files would become one, which is not what preflight and roles read",
        "unset ANSIBLE_HASH_BEHAVIOUR",
    ),
    "VARIABLE_PLUGINS_ENABLED": Rule(
        "vars_plugins_enabled",
        lambda value: "host_group_vars" in {str(each).rpartition(".")[2] for each in value},
        "group_vars and host_vars would not be read",
        "unset ANSIBLE_VARS_ENABLED",
    ),
    "VARIABLE_PRECEDENCE": Rule(
        "precedence",
        lambda value: set(value) >= _SOURCES,
        "variables of the inventory would not be read",
        "unset ANSIBLE_PRECEDENCE",
    ),
    "TASK_TIMEOUT": Rule(
        "task_timeout", _never, "tasks that wait for boards would be ended", "unset ANSIBLE_TASK_TIMEOUT"
    ),
    "DEFAULT_PRIVATE_ROLE_VARS": Rule(
        "private_role_vars",
        _never,
        "stages use variables of roles that ran before",
        "unset ANSIBLE_PRIVATE_ROLE_VARS",
    ),
    "HOST_PATTERN_MISMATCH": Rule(
        "host_pattern_mismatch",
        lambda value: value != "error",
        "a stage for which there is no board would end the run",
        "unset ANSIBLE_HOST_PATTERN_MISMATCH",
    ),
    "ENABLE_TASK_DEBUGGER": Rule(
        "enable_task_debugger",
        _never,
        "a task that fails would wait for commands, which the screen does not show",
        "unset ANSIBLE_ENABLE_TASK_DEBUGGER",
    ),
    "INVENTORY_ENABLED": Rule(
        "enable_plugins",
        lambda value: {"yaml", "ini"} <= {str(each).rpartition(".")[2] for each in value},
        "inventories in YAML and INI format would not be read",
        "unset ANSIBLE_INVENTORY_ENABLED, or have yaml and ini in it",
    ),
    "YAML_FILENAME_EXTENSIONS": Rule(
        "yaml_valid_extensions",
        lambda value: list(value) == [".yml", ".yaml", ".json"],
        "files of the inventory would not be read, or others than preflight reads",
        "unset ANSIBLE_YAML_FILENAME_EXT",
    ),
    "DEFAULT_EXECUTABLE": Rule("executable", _is_shell, "stages run commands of sh", "unset ANSIBLE_EXECUTABLE"),
    "INTERPRETER_PYTHON": Rule(
        "interpreter_python",
        _is_boards_python,
        "boards do not have this Python",
        f"unset ANSIBLE_PYTHON_INTERPRETER, or {_IN_INVENTORY} ansible_python_interpreter of single boards",
    ),
}
#: Options of Ansible's plugins ssh, sudo and sh; the environment and options of ansible-playbook may have changed them.
PLUGINS = (
    Rule("ssh_args", _says_no_route, _ARGS, f"unset ANSIBLE_SSH_ARGS, and {_IN_INVENTORY} ansible_ssh_common_args"),
    Rule("ssh_args", _has_socket_of_each, _ONE_SOCKET, f"unset ANSIBLE_SSH_ARGS, or {_OF_EACH}"),
    Rule("ssh_common_args", _never, _ARGS, f"{_IN_INVENTORY} ansible_ssh_common_args"),
    Rule("ssh_extra_args", _never, _ARGS, f"{_IN_INVENTORY} ansible_ssh_common_args"),
    Rule(
        "control_path_dir",
        _has_short_sockets,
        _LONG_SOCKETS,
        "export HOME with a shorter path, or unset ANSIBLE_SSH_CONTROL_PATH_DIR",
    ),
    Rule(
        "control_path_dir",
        _can_be_made,
        _NO_SOCKETS,
        "export HOME with a directory that you own, or unset ANSIBLE_SSH_CONTROL_PATH_DIR",
    ),
    Rule(
        "host_key_checking",
        bool,
        _ANY_HOST_KEY,
        # ansible-runner sets it unless it is given.
        "unset ANSIBLE_HOST_KEY_CHECKING and ANSIBLE_SSH_HOST_KEY_CHECKING; give ansible-runner "
        "ANSIBLE_HOST_KEY_CHECKING=True",
    ),
    Rule("remote_tmp", _is_shell_path, _REMOTE_TMP[0], "unset ANSIBLE_REMOTE_TMP and ANSIBLE_REMOTE_TEMP"),
    Rule("ssh_executable", _is_ssh, _ARGS, "unset ANSIBLE_SSH_EXECUTABLE, and have OpenSSH's ssh first on PATH"),
    Rule("port", _never, _ARGS, f"unset ANSIBLE_REMOTE_PORT, and {_IN_INVENTORY} ansible_port"),
    Rule("private_key_file", _never, _ARGS, f"{_IN_INVENTORY} ansible_ssh_private_key_file"),
    Rule("control_path", _is_path_of_each, _ONE_SOCKET, "unset ANSIBLE_SSH_CONTROL_PATH, or have %C in it"),
    Rule("become_exe", _is_program_sudo, "stages become root by sudo", "unset ANSIBLE_BECOME_EXE"),
    Rule("become_user", lambda value: value == "root", _OTHER_USER, "unset ANSIBLE_BECOME_USER and ANSIBLE_SUDO_USER"),
    Rule("sudo_chdir", _never, "sudo takes no directory, unless sudoers has one", "unset ANSIBLE_SUDO_CHDIR"),
)


def check(inventory: Inventory, report: Report) -> None:
    """Report variables of the connection that only a part of the stages would use, or none could work with."""
    for host in inventory.hosts.values():
        _check(host, ARGUMENTS, report)
    boards = inventory.boards()
    for host in boards:
        # root need not become root.
        rules = [rule for rule in BOARDS if rule.name != "ansible_become" or host.get("ansible_user") != "root"]
        _check(host, rules, report)
    if control := inventory.hosts.get("localhost"):
        _check(control, CONTROL_NODE, report)
    without = [host.name for host in boards if not host.settings.get("ansible_user")]
    if without and "ansible_user" not in inventory.unread:
        remedy = "write the user of the boards in group_vars/all.yml, such as pi"
        report.add(inventory.source, "ansible_user", None, f"missing for {', '.join(sorted(without))}", remedy)


def check_options(arguments: Mapping[str, Any], report: Report) -> None:
    """The same for the options of ansible-playbook."""
    for rule in OPTIONS:
        value = arguments.get(rule.name)
        if not rule.works(value):
            name = "--" + rule.name.replace("_", "-")
            report.add(_COMMAND_LINE, name, None if value is True else value, rule.problem, rule.remedy)


def check_settings(settings: Mapping[str, Any], report: Report) -> None:
    """Report settings of Ansible with which stages would go wrong; `settings` are those of SETTINGS and PLUGINS."""
    for name, rule in [*SETTINGS.items(), *((rule.name, rule) for rule in PLUGINS)]:
        if not rule.works(settings[name]):
            report.add(_CONFIGURATION, rule.name, settings[name], rule.problem, rule.remedy)


def check_flags(
    inventory: Inventory, arguments: Mapping[str, Any], settings: Mapping[str, Any], report: Report
) -> None:
    """Report flags with which sudo would not read the password that Ansible has for it; without one they do no harm.

    `arguments` are the options of ansible-playbook, `settings` those of Ansible's plugin sudo.
    """
    of_all = any((arguments.get("become_ask_pass"), arguments.get("become_password_file"), settings.get("become_pass")))
    has_default = False
    for host in inventory.boards():
        # root need not become root.
        if host.get("ansible_user") != "root" and (of_all or any(_is_given(host, name) for name in _PASSWORDS)):
            _check(host, FLAGS, report)
            has_default = has_default or not any(rule.name in host.settings for rule in FLAGS)
    if has_default and not DEFAULT_FLAGS.works(settings["become_flags"]):
        report.add(
            _CONFIGURATION,
            DEFAULT_FLAGS.name,
            settings["become_flags"],
            DEFAULT_FLAGS.problem,
            DEFAULT_FLAGS.remedy,
        )


def _is_given(host: Host, name: str) -> bool:
    """Whether a host has a value of a variable; one that is encrypted counts, though it is not known here."""
    setting = host.settings.get(name)
    return setting is not None and (bool(setting.value) or (setting.value is None and not setting.plain))


def _check(host: Host, rules: tuple[Rule, ...] | list[Rule], report: Report) -> None:
    for rule in rules:
        setting = host.settings.get(rule.name)
        if setting is None or (setting.value is None and setting.plain):
            continue
        # Of one that is encrypted only this is known without its password: that it is set.
        works = rule.works(setting.value) if setting.value is not None else rule.works is not _never
        if not works:
            value = "(not shown)" if "pass" in rule.name else setting.value
            report.setting(host, setting, rule.problem, rule.remedy, value=value)
