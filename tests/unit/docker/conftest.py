"""The directory that the image is built from."""

from pathlib import Path

import pytest

from tests.support.paths import ROOT


@pytest.fixture
def docker() -> Path:
    return ROOT / "docker"
