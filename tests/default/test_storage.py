"""The NFS export: what it says, and whom it refuses."""

from __future__ import annotations

import shutil
import socket
import subprocess
from typing import Any

import pytest

from tests.support.cluster import Cluster


@pytest.fixture
def server(boards: dict[str, Any], cluster: Cluster) -> Any:
    return boards[cluster.hosts("nfs_servers")[0]]


def listeners(board: Any, port: int) -> set[str]:
    """Addresses on which a board listens on a port, by TCP or UDP, whoever does: the kernel's sockets too."""
    found = [line.split()[4] for line in board.check_output("ss -Hlntu").splitlines()]
    return {each.rpartition(":")[0] for each in found if each.endswith(f":{port}")}


def test_export_names_exactly_the_nodes_of_the_cluster(server: Any, cluster: Cluster) -> None:
    exported = server.check_output("exportfs -s").splitlines()
    clients = {line.split()[1].split("(")[0] for line in exported}
    assert clients == {cluster.address(name) for name in cluster.hosts("cluster")}
    # A board that is declared, and absent: whoever takes its address must not get in.
    assert not clients & {cluster.address(name) for name in cluster.hosts("spare")}
    for line in exported:
        options = line.split("(", 1)[1].rstrip(")").split(",")
        assert {"sync", "all_squash", "anonuid=10001", "anongid=10001"} <= set(options)


def test_server_listens_on_its_address_in_the_cluster_alone(server: Any, cluster: Cluster) -> None:
    assert listeners(server, 2049) == {cluster.address(cluster.hosts("nfs_servers")[0])}
    assert "-3" in server.check_output("cat /proc/fs/nfsd/versions").split()


def test_nothing_of_nfs_version_3_listens_or_runs(board: Any) -> None:
    assert listeners(board, 111) == set()
    assert board.run("pgrep --list-full 'rpcbind|rpc.statd|blkmapd'").stdout == ""
    for unit in ("rpcbind.socket", "rpcbind.service", "rpc-statd.service"):
        assert board.run(f"systemctl is-enabled {unit}").stdout.strip() == "masked", unit
    # rpc.mountd, which answers the kernel's questions on the server, has no port; nor has any other program of NFS.
    assert "rpc." not in board.check_output("ss -Hlntup")


@pytest.mark.skipif(shutil.which("nfs-ls") is None, reason="needs nfs-ls of the package libnfs-utils here")
def test_host_outside_the_list_is_refused(cluster: Cluster) -> None:
    """The control node is no board: a real NFS client on it must not get in, though it reaches the port."""
    address = cluster.address(cluster.hosts("nfs_servers")[0])
    with socket.create_connection((address, 2049), timeout=10):
        pass
    answer = subprocess.run(
        ["nfs-ls", f"nfs://{address}/?version=4"], capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode != 0
    assert "model" not in answer.stdout


def test_weights_are_on_the_export(server: Any, trained: list[str]) -> None:
    for profile in trained:
        weights = server.file(f"/srv/books/weights/{profile}/model.weights.h5")
        assert weights.is_file and weights.size > 100_000
        assert (weights.uid, weights.gid) == (10001, 10001)


def test_jupyter_keeps_no_database_on_nfs(server: Any) -> None:
    assert server.check_output("find /srv/books -name '*.sqlite*' -o -name '*.db'") == ""


def test_export_and_the_disk_of_the_server_cannot_fill_one_another(server: Any) -> None:
    room = {each: server.check_output("stat --file-system --format=%%i %s", each) for each in ("/srv/books", "/")}
    assert len(set(room.values())) == 2
    file = server.file("/srv/books.img")
    if not file.exists:
        return  # a disk of its own
    # What it may hold is reserved: not a sparse file.
    assert int(server.check_output("stat --format=%b /srv/books.img")) * 512 >= file.size
    assert file.mode == 0o600
