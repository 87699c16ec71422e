"""Fixtures of each chain: what a step needs of those before it, made where it is run alone."""

from __future__ import annotations

import pytest

from tests.support.plays import NEXT, ON_NEXT, Plays, lab
from tests.support.watch import versions


@pytest.fixture
def upgraded(plays: Plays) -> None:
    """All nodes run the next release."""
    if set(versions().values()) != {NEXT}:
        lab("build", "k3s-next")
        plays.run("upgrade", "playbooks/upgrade.yml", *ON_NEXT)
