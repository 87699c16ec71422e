"""A cluster with its Ingress, of which nothing else is asked."""

from __future__ import annotations

import pytest

from tests.support import snapshots
from tests.support.plays import FAST, Plays, recorded


@pytest.fixture(scope="session")
def plays() -> Plays:
    return recorded("ingress")


@pytest.fixture(scope="session", autouse=True)
def beginning(request: pytest.FixtureRequest, plays: Plays) -> None:
    if request.config.getoption("--begin") == "finished":
        snapshots.begin(lambda: plays.run("site", "site.yml", *FAST))
