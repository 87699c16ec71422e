"""Which variables exist, and of which type, by all roles' argument specifications; and which ones a run sets itself."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from .model import Option


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as data; values with Ansible's own tags (!vault, !unsafe) are ignored."""


#: A role's default by which a variable without the role's name sets it, for one run: `"{{ rotate | default([]) }}"`.
_SHORT = re.compile(r"\{\{ ((?!ansible_)\w+) \| default\(.*\) \}\}")

_Loader.add_multi_constructor("!", lambda loader, suffix, node: None)


@functools.cache
def load_options(roles_dir: Path) -> tuple[dict[str, Option], tuple[str, ...]]:
    """(variables by name, names of roles) of the roles in a directory, by their argument_specs and defaults.

    A short name, which is written on the command line for one run, is of the same type as the role's variable.
    """
    options: dict[str, Option] = {}
    roles = tuple(sorted(path.name for path in roles_dir.iterdir() if (path / "meta/argument_specs.yml").is_file()))
    for role in roles:
        defaults = _load(roles_dir / role / "defaults" / "main.yml")
        specs = _load(roles_dir / role / "meta" / "argument_specs.yml").get("argument_specs") or {}
        for entry_point in specs.values():
            for name, spec in (entry_point.get("options") or {}).items():
                empty = name in defaults and defaults[name] in (None, "", [], {})
                options.setdefault(name, _option(name, spec or {}, empty))
        for name, value in defaults.items():
            options.setdefault(name, Option(name, may_be_empty=True))
            if short := _SHORT.fullmatch(str(value)):
                options.setdefault(short[1], replace(options[name], name=short[1]))
    return options, roles


@functools.cache
def load_assigned(checkout: Path) -> tuple[frozenset[str], frozenset[str]]:
    """(variables that playbooks assign, those that tasks of roles assign) in a run: -e would win over both.

    Of a group's or a host's variables, those that playbooks assign have no effect, or an effect on other playbooks.
    """
    found = [
        frozenset(name for pattern in patterns for path in checkout.glob(pattern) for name in _assigned(path))
        for patterns in (("*.yml", "playbooks/*.yml", "playbooks/stages/*.yml"), ("roles/*/tasks/*.yml",))
    ]
    return found[0], found[1]


def _assigned(path: Path) -> Iterator[str]:
    """Names in `vars`, `vars_files`, `set_fact` and `register` of a file's plays and tasks."""
    nodes = [_parse(path)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, list):
            nodes += node
        for key, value in node.items() if isinstance(node, dict) else ():
            if key == "register":
                yield value
            elif key == "vars" or key.endswith("set_fact"):
                yield from value
            elif key == "vars_files":
                for name in value:
                    yield from _load(path.parent / name)
            else:
                nodes.append(value)


def _parse(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    data = _parse(path)
    return data if isinstance(data, dict) else {}


def _option(name: str, spec: dict[str, Any], may_be_empty: bool) -> Option:
    return Option(
        name=name,
        type=spec.get("type", "str"),
        elements=spec.get("elements"),
        choices=tuple(spec.get("choices") or ()),
        may_be_empty=may_be_empty,
        required=bool(spec.get("required")),
        options={key: _option(key, inner or {}, False) for key, inner in (spec.get("options") or {}).items()},
    )
