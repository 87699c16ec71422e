"""The role's program and docker/'s trimmer, which are not on Python's path."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.modules import load

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "roles" / "container_image" / "files"))


@pytest.fixture(scope="session")
def slim() -> Any:
    return load(ROOT / "docker" / "slim.py")


@pytest.fixture(scope="session")
def action() -> Any:
    return load(ROOT / "roles" / "container_image" / "action_plugins" / "container_image.py")


@pytest.fixture
def docker() -> Path:
    return ROOT / "docker"
