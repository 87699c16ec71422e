"""One chain of days in a cluster's life, driven by ansible-runner; its record goes to results/."""

from __future__ import annotations

import pytest

from tests.support.cluster import CLUSTER, Cluster
from tests.support.plays import Plays, recorded


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    return CLUSTER


@pytest.fixture(scope="session")
def plays() -> Plays:
    return recorded("lifecycle")
