"""The role's program and docker/'s trimmer, which are not on Python's path."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "roles" / "container_image" / "files"))


def load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def slim() -> ModuleType:
    return load("docker_slim", ROOT / "docker" / "slim.py")


@pytest.fixture(scope="session")
def action() -> ModuleType:
    return load("image_action", ROOT / "roles" / "container_image" / "action_plugins" / "container_image.py")


@pytest.fixture
def docker() -> Path:
    return ROOT / "docker"
