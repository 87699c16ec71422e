"""What is driven here is recorded in results/."""

from __future__ import annotations

import pytest

from tests.support.plays import Plays, recorded


@pytest.fixture(scope="session")
def plays() -> Plays:
    return recorded("servers")
