"""Writes the variables of each role into its README: `python -m tools.role_readmes`, with `--check` only compares.

Descriptions, types and choices come from meta/argument_specs.yml, defaults from defaults/main.yml. The table is between
two marks; the rest of a README is written by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
BEGIN = "<!-- variables: made by tools/role_readmes.py from meta/argument_specs.yml and defaults/main.yml -->"
END = "<!-- end of variables -->"
LONGEST_DEFAULT = 60
"""Characters; a default that is longer is in defaults/main.yml."""
OF_ANOTHER_ROLE = re.compile(r"\{\{ lookup\('edge_ai\.cluster\.role_variable', '(\w+)'[^{}]*\) \}\}")
"""A default that is a variable of another role."""


def load(role: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(entry points by name, defaults by variable) of the role in a folder."""
    specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
    path = role / "defaults/main.yml"
    defaults = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    return specs, defaults or {}


def markdown(text: str | list[str]) -> str:
    """A description as a cell of a table: one line, C(code) as `code`, no bare bar, no <word> that looks like HTML."""
    joined = " ".join(text) if isinstance(text, list) else text
    line = " ".join(re.sub(r"\b[CV]\(([^)]*)\)", r"`\1`", joined).split()).replace("|", "\\|")
    return "".join(part if part.startswith("`") else part.replace("<", "\\<") for part in re.split(r"(`[^`]*`)", line))


def default_of(name: str, defaults: dict[str, Any]) -> str:
    """The default of a variable as a cell."""
    if name not in defaults:
        return "required"
    value = defaults[name]
    if value == "":
        return "empty"
    written = value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if other := OF_ANOTHER_ROLE.fullmatch(written):
        return f"`{other[1]}`"
    if len(written) > LONGEST_DEFAULT or "\n" in written or "|" in written:
        return "[see there](defaults/main.yml)"
    return f"`{written}`"


def type_of(spec: dict[str, Any]) -> str:
    """The type of a variable as a cell, such as `list of str`."""
    kind = spec.get("type", "str")
    return f"{kind} of {spec['elements']}" if "elements" in spec else str(kind)


def what(spec: dict[str, Any]) -> str:
    """The description of a variable with its choices and keys."""
    text = markdown(spec.get("description", ""))
    if choices := spec.get("choices"):
        text += " One of " + ", ".join(f"`{choice}`" for choice in choices) + "."
    if keys := spec.get("options"):
        parts = (f"`{key}`{'' if inner.get('required') else ' (optional)'}" for key, inner in keys.items())
        text += " Keys: " + ", ".join(parts) + "."
    return text


def tables(specs: dict[str, Any], defaults: dict[str, Any]) -> str:
    """The tables of a role: one for all entry points that have the same variables."""
    groups: list[tuple[list[str], dict[str, Any]]] = []
    for entry, spec in specs.items():
        options = spec.get("options") or {}
        same = next((names for names, known in groups if known == options), None)
        if same is not None:
            same.append(entry)
        elif options:
            groups.append(([entry], options))
    parts = []
    for names, options in groups:
        if len(groups) > 1:
            parts.append(
                f"Entry point{'s' if len(names) > 1 else ''} " + ", ".join(f"`{name}`" for name in names) + ":"
            )
        rows = [
            f"| `{name}` | {type_of(spec)} | {default_of(name, defaults)} | {what(spec)} |"
            for name, spec in options.items()
        ]
        parts.append("\n".join(["| variable | type | default | |", "|---|---|---|---|", *rows]))
    return "\n\n".join(parts)


def renewed(page: str, table: str, first: str = BEGIN, last: str = END) -> str:
    """The page with this table between the marks.

    Raises:
        ValueError: it does not have both marks, once each and in this order.
    """
    before, begin, rest = page.partition(first)
    _old, end, after = rest.partition(last)
    if not begin or not end or first in rest or last in before + after:
        raise ValueError(f"one generated part is needed, between these two lines:\n{first}\n{last}")
    return f"{before}{first}\n\n{table}\n\n{last}{after}"


def roles(root: Path) -> list[Path]:
    """Folders of all roles that have argument_specs."""
    return sorted(path.parents[1] for path in root.glob("roles/*/meta/argument_specs.yml"))


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Renew the READMEs, or name those that are out of date; 1 if a README is, or has no place for its table."""
    parser = argparse.ArgumentParser(prog="python -m tools.role_readmes", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a README is out of date")
    check = parser.parse_args(arguments).check
    failed = False
    for role in roles(root):
        path = role / "README.md"
        now = path.read_text(encoding="utf-8") if path.is_file() else ""
        try:
            new = renewed(now, tables(*load(role)))
        except ValueError as error:
            print(f"{path.relative_to(root)}: {error}", file=sys.stderr)
            failed = True
            continue
        if new == now:
            continue
        if check:
            print(f"{path.relative_to(root)}: out of date; run: python -m tools.role_readmes", file=sys.stderr)
            failed = True
        else:
            path.write_text(new, encoding="utf-8")
            print(f"{path.relative_to(root)}: variables written")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
