"""One chain of days in a cluster's life, driven by ansible-runner; its record goes to results/.

A step names what it needs of those before it. Within the chain that is so already; run alone, a step has it made.
"""

from __future__ import annotations

import pytest

from tests.support import snapshots
from tests.support.chain import upgraded as upgraded
from tests.support.cluster import CLUSTER, Cluster
from tests.support.plays import KEY, NEXT, ON_NEXT, Plays, recorded
from tests.support.watch import ready_nodes, versions


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    return CLUSTER


@pytest.fixture(scope="session")
def plays() -> Plays:
    return recorded("lifecycle")


@pytest.fixture(scope="session", autouse=True)
def beginning(request: pytest.FixtureRequest, plays: Plays) -> None:
    if request.config.getoption("--begin") == "finished":
        snapshots.begin(lambda: plays.run("site", "site.yml"))


@pytest.fixture
def joined(plays: Plays) -> None:
    """pi-05 is in the cluster."""
    if "pi-05" not in ready_nodes():
        plays.run("add-node", "add-node.yml", "-l", "pi-05", *(ON_NEXT if NEXT in versions().values() else ()))


@pytest.fixture
def backed_up(plays: Plays, upgraded: None) -> None:
    """There is a backup."""
    if not list(CLUSTER.path("cluster_backups_dir").glob("2*")):
        plays.run("backup", "playbooks/backup.yml", *ON_NEXT, *KEY)
