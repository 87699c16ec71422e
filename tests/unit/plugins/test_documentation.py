"""ansible-doc shows every module, every action, every role and the callback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

NAMES = sorted({path.stem for kind in ("modules", "action") for path in (ROOT / "plugins" / kind).glob("*.py")})


def documentation(kind: str, *names: str) -> dict[str, Any]:
    command = [str(Path(sys.executable).with_name("ansible-doc")), "--json", "-t", kind, *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


@pytest.fixture(scope="module")
def modules() -> dict[str, Any]:
    return documentation("module", *(f"edge_ai.cluster.{name}" for name in NAMES))


@pytest.mark.parametrize("name", NAMES)
def test_a_module_is_documented(modules: dict[str, Any], name: str) -> None:
    shown = modules[f"edge_ai.cluster.{name}"]["doc"]
    assert shown["short_description"] and shown["description"]
    assert all(option["description"] for option in shown["options"].values())


def test_the_callback_is_documented() -> None:
    (shown,) = documentation("callback", "edge_ai.cluster.stages").values()
    assert {"logs", "keep", "durations"} <= shown["doc"]["options"].keys()


def test_roles_are_documented() -> None:
    names = [f"edge_ai.cluster.{path.name}" for path in (ROOT / "roles").iterdir()]
    shown = documentation("role", *names)
    assert sorted(shown) == sorted(names)
    assert all(role["entry_points"] for role in shown.values())
