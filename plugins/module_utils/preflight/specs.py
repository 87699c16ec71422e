"""The union of all roles' argument specifications: which variables exist, and of which type."""

from __future__ import annotations

import functools
import re
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


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
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
