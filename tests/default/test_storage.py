"""The NFS export: what it says, and whom it refuses."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from tests.support.cluster import Cluster


@pytest.fixture
def server(boards: dict[str, Any], cluster: Cluster) -> Any:
    return boards[cluster.hosts("nfs_servers")[0]]


def test_export_names_exactly_the_declared_boards(server: Any, cluster: Cluster) -> None:
    exported = server.check_output("exportfs -s").splitlines()
    clients = {line.split()[1].split("(")[0] for line in exported}
    declared = cluster.hosts("cluster") + cluster.hosts("spare")
    assert clients == {cluster.address(name) for name in declared}
    for line in exported:
        options = line.split("(", 1)[1].rstrip(")").split(",")
        assert {"sync", "all_squash", "anonuid=10001", "anongid=10001"} <= set(options)


def test_host_outside_the_list_is_refused(cluster: Cluster) -> None:
    """The control node is no board: a real NFS client on it must not get in."""
    address = cluster.address(cluster.hosts("nfs_servers")[0])
    answer = subprocess.run(
        ["nfs-ls", f"nfs://{address}/?version=4"], capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode != 0
    assert "model" not in answer.stdout


def test_weights_are_on_the_export(server: Any) -> None:
    for profile in ("thesis", "fast"):
        weights = server.file(f"/srv/books/weights/{profile}/model.weights.h5")
        assert weights.is_file and weights.size > 100_000
        assert (weights.uid, weights.gid) == (10001, 10001)


def test_jupyter_keeps_no_database_on_nfs(server: Any) -> None:
    assert server.check_output("find /srv/books -name '*.sqlite*' -o -name '*.db'") == ""
