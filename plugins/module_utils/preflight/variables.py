"""Names and types of variables, compared with the roles' argument_specs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from .model import Host, Inventory, Option, Report, Setting, is_secret, words
from .suggest import did_you_mean, typo_of

_OF_A_CONNECTION = ("ansible_ssh_", "ansible_become_", "ansible_sudo_", "ansible_shell_")
_TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str, "path": str, "bool": bool, "int": int, "float": (int, float), "list": list, "dict": dict,
}  # fmt: skip
_TYPE_NAMES = {
    "str": "text",
    "path": "a path",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "dict": "a dictionary",
}
#: (end of a name, least, greatest) of whole numbers; the first that fits, "" for all others.
_RANGES: tuple[tuple[str, int, float], ...] = (
    ("_percent", 1, 100),
    ("_port", 1, 65535),
    ("_timeout", 1, math.inf),
    ("_threads", 1, 1024),
    # systemd takes 0 for no end.
    ("_time_wait", 1, math.inf),
    ("_clock_skew", 1, math.inf),
    # k3s renews certificates from 120 days before their end.
    ("_certificate_days", 1, 119),
    ("_compression_level", 1, 22),
    ("_megabytes", 1, math.inf),
    ("", 0, math.inf),
)
#: What users write instead of variables that playbooks assign.
_AN_IMAGE = "an image is named by container_image_name"
_INSTEAD = {
    "stage_boards": "boards are chosen by --limit",
    "node_labels_nodes": "boards are chosen by --limit",
    "notebooks_boards": "boards are chosen by --limit of add-node.yml",
    "preflight_whole": "a playbook that changes the cluster as a whole takes no --limit",
    "nfs_server_move": "data and volume are moved by playbooks/move-storage.yml",
    "manifests_move_volume": "data and volume are moved by playbooks/move-storage.yml",
    "nfs_server_client_state": "boards are removed by playbooks/remove-node.yml",
    "container_image_needed": "it follows from groups, profiles and overlay",
    "manifests_image": _AN_IMAGE,
    "manifests_lite_image": _AN_IMAGE,
    "manifests_hub_image": _AN_IMAGE,
    "notebooks_image": _AN_IMAGE,
    "notebooks_lite_image": _AN_IMAGE,
}
#: Consent to lose something: in a file it would be given for each run.
CONSENTS = words(
    "cluster_backup_restore_over flash_reflash k3s_remove_accept k3s_reset_confirm nfs_server_reset_data reset_confirm "
    "reset_nfs_data restore_over"
)
_EMPTY = ("an empty value replaces the default", "write a value, or delete the line")
_INI = (".ini", ".cfg")
#: Values of each type on the command line, where typed_options converts them, and in an inventory in INI format.
_WORD = {"int": "3", "float": "1.5", "bool": "true", "list": "a,b"}
_JSON = {"list": "[]", "dict": '{"name": "value"}'}
_PYTHON = {"int": "3", "float": "1.5", "bool": "True", "list": "['a', 'b']", "dict": "{'name': 'value'}"}
_EXAMPLES = {
    "int": "write the number without quotes",
    "float": "write the number without quotes",
    "bool": "write true or false, without quotes",
    "list": "write each item on a line of its own, as `- item`",
    "dict": "write each item on a line of its own, as `key: value`",
}


def check(inventory: Inventory, report: Report) -> None:
    """Report unknown names, wrong types and values outside an option's choices."""
    prefixes = {role: f"{role}_" for role in inventory.roles} | {"cluster": "cluster_"}
    for host in inventory.hosts.values():
        for setting in host.settings.values():
            option = inventory.options.get(setting.name)
            omit = "omit it" if setting.from_command_line else "delete it"
            if setting.name in inventory.of_playbooks:
                remedy = f"{omit}; {_INSTEAD[setting.name]}" if setting.name in _INSTEAD else omit
                report.setting(host, setting, "playbooks set it themselves", remedy)
                continue
            if setting.name in inventory.of_roles and option and option.required:
                report.setting(host, setting, "roles set it themselves", omit)
            elif setting.from_command_line and setting.name in inventory.of_roles - inventory.connection:
                remedy = "write it in the inventory"
                report.setting(host, setting, "roles set it for a while, which -e would undo", remedy)
            if setting.name in CONSENTS and setting.value and not setting.from_command_line:
                remedy = f"delete it, and write -e {setting.name}=... for one run"
                report.setting(host, setting, "every run would delete what this one may", remedy)
            if setting.name == "k3s_role":
                remedy = "delete it, and write the board below k3s_servers or k3s_agents"
                report.setting(host, setting, "follows from the board's group", remedy)
            if option is not None:
                _value(host, setting, option, report)
            else:
                _name(host, setting, inventory, prefixes, report)


def _name(host: Host, setting: Setting, inventory: Inventory, prefixes: dict[str, str], report: Report) -> None:
    name, known = setting.name, set(inventory.options)
    is_connection = name in inventory.connection
    if is_connection and isinstance(setting.value, list | dict):
        report.setting(host, setting, "not text", "write one line of text")
    # An empty address is reported with the others.
    if is_connection and name != "ansible_host" and setting.value is None and setting.plain:
        report.setting(host, setting, *_EMPTY)
    owner = next((role for role, prefix in prefixes.items() if name.lstrip("_").startswith(prefix)), None)
    if name.startswith("_") and owner:
        remedy = f"delete it, or rename a variable of your own; roles/{owner}/README.md has the role's public ones"
        report.setting(host, setting, "a name of what the role computes itself", remedy)
    if name.startswith("_") or is_connection or (setting.plain and is_secret(name, setting.value)):
        return
    if name.startswith("ansible_"):
        if typo_of(name, inventory.connection) or name.startswith(_OF_A_CONNECTION):
            remedy = did_you_mean(name, inventory.connection, "delete it")
            report.setting(host, setting, "Ansible has no variable of this name", remedy)
        return
    roles = [role for role, prefix in prefixes.items() if name.startswith(prefix)]
    if roles:
        role = max(roles, key=len)
        own = {each for each in known if each.startswith(prefixes[role])}
        owner = "the cluster has" if role == "cluster" else f"the role {role} has"
        otherwise = (
            f"delete it, or see roles/{'preflight' if role == 'cluster' else role}/README.md for the valid names"
        )
        report.setting(host, setting, f"{owner} no variable of this name", did_you_mean(name, own or known, otherwise))
    else:
        if meant := typo_of(name, known):
            report.setting(host, setting, "no role has this variable", f"did you mean {meant}?")


def _value(host: Host, setting: Setting, option: Option, report: Report) -> None:
    if setting.value is None:
        # Also where the default is [] or "": roles take the length of both, and of nothing there is none.
        if setting.plain and option.type != "raw":
            report.setting(host, setting, *_EMPTY)
        return
    for inner, value, problem, remedy in _mistakes(setting, option):
        if is_secret(setting.name, value):
            value = "(not shown)"
        report.setting(host, setting, problem, remedy, inner=inner, value=value)


def _mistakes(setting: Setting, option: Option) -> Iterator[tuple[str | None, Any, str, str]]:
    value = setting.value
    if not is_type(value, option.type):
        yield None, value, f"not {_TYPE_NAMES.get(option.type, option.type)}", _instead_of(setting, option)
        return
    if option.type == "path" and value and not value.startswith("/"):
        yield None, value, "not an absolute path", "write the full path, or begin with {{ cluster_root }}/"
    if option.type == "int":
        least, greatest = next((low, high) for end, low, high in _RANGES if setting.name.endswith(end))
        if not least <= value <= greatest:
            remedy = f"write {least} or more" if greatest == math.inf else f"write a number from {least} to {greatest}"
            yield None, value, "out of range", remedy
    if option.choices and value not in option.choices and not isinstance(value, list) and value != "":
        yield None, value, "not one of its choices", _choose(value, option.choices)
    if isinstance(value, list):
        for index, item in enumerate(value):
            if option.elements and not is_type(item, option.elements):
                what = _TYPE_NAMES.get(option.elements, option.elements)
                yield str(index), item, f"not {what}", _instead(item, option.elements)
            elif option.choices and item not in option.choices:
                yield str(index), item, "not one of its choices", _choose(item, option.choices)
    if option.options:
        items: list[tuple[int | None, Any]] = [(None, value)]
        if isinstance(value, list):
            items = list(enumerate(value))
        for number, each in items:
            if isinstance(each, dict):
                yield from _in_dictionary(setting.name, number, each, option)


def _in_dictionary(
    name: str, index: int | None, value: dict[str, Any], option: Option
) -> Iterator[tuple[str | None, Any, str, str]]:
    for key, item in value.items():
        inner = option.options.get(key)
        at = key if index is None else f"{index}.{key}"
        if inner is None:
            remedy = did_you_mean(key, option.options, f"use {', '.join(sorted(option.options))}")
            yield at, item, f"{name} has no such key", remedy
        elif item is not None and not is_type(item, inner.type):
            yield at, item, f"not {_TYPE_NAMES.get(inner.type, inner.type)}", _instead(item, inner.type)
        elif inner.choices and item not in inner.choices:
            yield at, item, "not one of its choices", _choose(item, inner.choices)
    for key, inner in option.options.items():
        if inner.required and value.get(key) is None:
            yield key if index is None else f"{index}.{key}", None, "missing", f"write it, as {_TYPE_NAMES[inner.type]}"


def is_type(value: Any, kind: str) -> bool:
    """Whether a value has a type of argument_specs, more strictly than Ansible.

    Ansible validates "a,b" as a list and "no" as false, but hands the role the text as it is. Of the command line's
    texts the callback typed_options has made what they say.
    """
    if isinstance(value, bool) and kind in ("int", "float"):
        return False
    return isinstance(value, _TYPES.get(kind, object))


def _instead_of(setting: Setting, option: Option) -> str:
    """What to write for a value of another type, which depends on where it is written."""
    kind = option.type
    if option.choices and kind == "str":
        return _choose(setting.value, option.choices)
    if setting.from_command_line and kind in _PYTHON:
        if kind == "dict" or (kind == "list" and setting.value == ""):
            return f"write -e '{{\"{setting.name}\": {_JSON[kind]}}}'"
        return f"write -e {setting.name}={','.join(map(str, option.choices[:2])) or _WORD[kind]}"
    if not isinstance(setting.value, str) or kind not in _PYTHON:
        return _instead(setting.value, kind)
    if not setting.plain and not setting.hidden and kind in ("int", "float", "bool"):
        return f"end the template with `| {kind}`"
    if setting.place.file.endswith(_INI) or "." not in PurePath(setting.place.file).name:
        return f"write it as Python has it, such as {_PYTHON[kind]}: this file is in INI format"
    return _instead(setting.value, kind)


def _instead(value: Any, kind: str) -> str:
    if kind in ("str", "path") and isinstance(value, int | float):
        return "write it in quotes"
    return _EXAMPLES.get(kind, "write one line of text")


def _choose(value: Any, choices: tuple[Any, ...]) -> str:
    names = [str(choice) for choice in choices]
    meant = typo_of(str(value), names)
    return f"did you mean {meant}?" if meant else f"use {' or '.join(names)}"
