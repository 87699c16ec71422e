"""Each role's meta/argument_specs.yml and defaults/main.yml say the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.formats import FORMATS
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.specs import load_options

from tests.support.paths import ROOT
from tools.role_readmes import LONGEST_DEFAULT, load, roles

NAMES = [role.name for role in roles(ROOT)]
INVENTORY = "cluster"
"""Of preflight's specs: variables of inventories, which no role has defaults for."""


def options(specs: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (entry, name, option) for entry, spec in specs.items() for name, option in (spec.get("options") or {}).items()
    ]


def templated(value: object) -> bool:
    return "{{" in str(value)


def short(value: object) -> bool:
    """Whether a default is no template, and short enough to stand in two places."""
    return not templated(value) and len(json.dumps(value)) <= LONGEST_DEFAULT


def disagreements(specs: dict[str, Any], defaults: dict[str, Any]) -> list[str]:
    """What is wrong, each with the variable and what to do."""
    found = []
    listed = options(specs)
    for name in defaults.keys() - {name for _entry, name, _option in listed}:
        found.append(f"{name}: in defaults/main.yml alone; describe it in meta/argument_specs.yml")
    for entry, name, option in listed:
        where = f"{entry}.{name}"
        if not option.get("description"):
            found.append(f"{where}: no description")
        if option.get("required"):
            if name in defaults or "default" in option:
                found.append(f"{where}: required, and has a default; delete one of them")
            continue
        if name not in defaults:
            found.append(f"{where}: neither required nor in defaults/main.yml; add a default or required: true")
        elif "default" in option and option["default"] != defaults[name]:
            found.append(f"{where}: default is {option['default']!r} here, {defaults[name]!r} in defaults/main.yml")
        elif "default" not in option and short(defaults[name]):
            found.append(f"{where}: write default: {defaults[name]!r}, so that ansible-doc shows it")
        found += [f"{where}: {error}" for error in type_errors(name, option, defaults.get(name))]
    return sorted(set(found))


def type_errors(name: str, option: dict[str, Any], value: object) -> list[str]:
    """What Ansible says of an option and its default; one that is a template has no value yet."""
    spec = {key: part for key, part in option.items() if key != "default"}
    try:
        return ArgumentSpecValidator({name: spec}).validate({} if templated(value) else {name: value}).error_messages
    except (TypeError, KeyError) as error:
        return [str(error)]


@pytest.mark.parametrize("name", NAMES)
def test_specs_and_defaults_agree(name: str) -> None:
    specs, defaults = load(ROOT / "roles" / name)
    if name == "preflight":
        del specs[INVENTORY]
    assert not disagreements(specs, defaults), "\n".join(disagreements(specs, defaults))


@pytest.mark.parametrize("name", NAMES)
def test_entry_points_are_task_files(name: str) -> None:
    specs, _defaults = load(ROOT / "roles" / name)
    files = {path.stem for path in (ROOT / "roles" / name / "tasks").glob("*.yml")}
    assert set(specs) - {INVENTORY} <= files


@pytest.mark.parametrize(
    ("option", "default", "error"),
    [
        ({"type": "int", "default": 1}, {"a": 1}, None),
        ({"type": "path"}, {"a": "{{ b }}/c"}, None),
        ({"type": "str", "required": True}, {}, None),
        ({"type": "int", "default": 1}, {"a": 2}, "default is 1 here, 2"),
        ({"type": "int"}, {"a": 2}, "write default: 2"),
        ({"type": "str"}, {"a": "long" * 20}, None),
        ({"type": "int"}, {}, "neither required nor"),
        ({"type": "int", "required": True}, {"a": 1}, "required, and has a default"),
        ({"type": "integer", "default": 1}, {"a": 1}, "integer"),
        ({"type": "int", "default": "x"}, {"a": "x"}, "int"),
        ({"type": "list", "elements": "int", "default": ["x"]}, {"a": ["x"]}, "int"),
        ({"type": "str", "choices": ["b"], "default": "c"}, {"a": "c"}, "one of"),
    ],
)
def test_disagreement_is_found(option: dict[str, Any], default: dict[str, Any], error: str | None) -> None:
    found = disagreements({"main": {"options": {"a": {"description": "A."} | option}}}, default)
    assert (len(found) > 0) == (error is not None)
    assert error is None or error in found[0]


def test_variable_without_spec_is_found() -> None:
    assert disagreements({"main": {}}, {"a": 1}) == [
        "a: in defaults/main.yml alone; describe it in meta/argument_specs.yml"
    ]


def test_forms_are_of_variables_that_there_are() -> None:
    known, _ = load_options(ROOT / "roles")
    assert set(FORMATS) <= {name for name, option in known.items() if option.type in ("str", "path", "list")}
