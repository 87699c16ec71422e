"""Variables of a role that a playbook includes are there afterwards only where the role is public, or imported."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

FILES = sorted([*ROOT.glob("*.yml"), *ROOT.glob("playbooks/*.yml"), *ROOT.glob("playbooks/stages/*.yml")])
PARTS = ("block", "rescue", "always")


def flat(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Tasks in their order, those of blocks among them."""
    for task in tasks:
        yield {key: value for key, value in task.items() if key not in PARTS}
        for part in PARTS:
            yield from flat(task.get(part) or [])


def variables(role: str) -> set[str]:
    """Names of a role's variables and defaults."""
    files = [ROOT / "roles" / role / part / "main.yml" for part in ("defaults", "vars")]
    return {name for file in files if file.is_file() for name in yaml.safe_load(file.read_text()) or {}}


def missing(tasks: list[dict[str, Any]]) -> list[str]:
    """Tasks that use a variable of a role which was included before and is not public, or set one of theirs."""
    lost: dict[str, set[str]] = {}
    found = []
    for task in flat(tasks):
        include: dict[str, Any] = task.get("ansible.builtin.include_role") or {}
        role, given = include.get("name", ""), task.get("vars") or {}
        # The lookup role_variable gets names as texts.
        code = re.sub(r"'[^']*'", "", json.dumps({key: value for key, value in task.items() if key != "name"}))
        for each in lost.keys() - {role}:
            found += [f"{task['name']}: {name}" for name in set(re.findall(r"\w+", code)) & lost[each] - set(given)]
        imported = (task.get("ansible.builtin.import_role") or {}).get("name", "")
        if include and not include.get("public"):
            lost[role] = variables(role)
        elif include or imported:
            lost.pop(role or imported, None)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_play_uses_of_a_role_is_there(path: Path) -> None:
    plays = yaml.safe_load(path.read_text()) or []
    assert [each for play in plays if isinstance(play, dict) for each in missing(play.get("tasks") or [])] == []


def test_a_variable_of_an_included_role_is_found() -> None:
    role: dict[str, Any] = {"name": "container_image", "tasks_from": "reference"}
    block = [{"name": "c", "vars": {"x": "{{ container_image_ref }}"}}]
    tasks: list[dict[str, Any]] = [{"name": "a", "ansible.builtin.include_role": role}, {"name": "b", "block": block}]
    assert missing(tasks) == ["c: container_image_ref"]
    role["public"] = True
    assert missing(tasks) == []
