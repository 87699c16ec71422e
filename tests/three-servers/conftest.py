"""What is driven here is recorded in results/. A step that is run alone has made what it needs of those before it."""

from __future__ import annotations

import pytest

from tests.support import snapshots
from tests.support.chain import upgraded as upgraded
from tests.support.plays import Plays, recorded


@pytest.fixture(scope="session")
def plays() -> Plays:
    return recorded("three-servers")


@pytest.fixture(scope="session", autouse=True)
def beginning(request: pytest.FixtureRequest, plays: Plays) -> None:
    if request.config.getoption("--begin") == "finished":
        snapshots.begin(lambda: plays.run("three servers", "molecule/three-servers/converge.yml"))
