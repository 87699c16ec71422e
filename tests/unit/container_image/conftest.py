"""The role's program and docker/'s trimmer, which are not on Python's path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.action import container_image

from docker import slim as trimmer

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def slim() -> Any:
    return trimmer


@pytest.fixture(scope="session")
def action() -> Any:
    return container_image


@pytest.fixture
def docker() -> Path:
    return ROOT / "docker"
