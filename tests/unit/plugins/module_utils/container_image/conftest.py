"""The action that runs the program, and the directory that it builds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.action import container_image

from tests.support.paths import ROOT


@pytest.fixture(scope="session")
def action() -> Any:
    return container_image


@pytest.fixture
def docker() -> Path:
    return ROOT / "docker"
