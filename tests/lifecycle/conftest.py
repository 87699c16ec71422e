"""One chain of days in a cluster's life, driven by ansible-runner; its record goes to results/."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.support.cluster import CLUSTER, ROOT, Cluster
from tests.support.plays import Plays, Record


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    return CLUSTER


@pytest.fixture(scope="session")
def plays() -> Plays:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return Plays(Record(ROOT / "results" / f"lifecycle-{stamp}.json"))
