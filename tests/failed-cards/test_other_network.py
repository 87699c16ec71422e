"""The boards move to another network: other static addresses, and site.yml with the changed inventory."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

import pytest
import yaml
from kubernetes import client

from tests.support.cluster import CLUSTER, connect, kubernetes_api
from tests.support.plays import FAST, Plays, lab, unchanged
from tests.support.watch import NAMESPACE, WEIGHTS, core, reads, ready_nodes, wait_until

BOARDS = ("pi-01", "pi-02", "pi-03", "pi-05")
SERVER = "pi-01"
SUBNET = "EDGE_LAB_SUBNET"
NEW = "10.91.0"


@pytest.fixture
def old() -> Iterator[str]:
    """The subnet that the boards have, and the lab has it again afterwards."""
    subnet = os.environ[SUBNET]
    yield subnet
    lab("down")
    os.environ[SUBNET] = subnet


class Found(BaseHTTPRequestHandler):
    """Says that every file is there."""

    def do_HEAD(self) -> None:
        """Answer without a file."""
        self.send_response(200)
        self.end_headers()


@contextmanager
def mirror_at(url: str) -> Iterator[None]:
    """Have the address of the mirror in the network of before on this machine: others' images are not in their LAN."""
    address = urlsplit(url)
    on = [f"{address.hostname}/32", "dev", "lo"]
    subprocess.run(["ip", "address", "add", *on], check=True)
    server = ThreadingHTTPServer((str(address.hostname), address.port or 80), Found)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        subprocess.run(["ip", "address", "del", *on], check=True)


def move_lab() -> None:
    """Carry the boards, which are off, into the other network: of the inventory, too."""
    lab("down")
    os.environ[SUBNET] = NEW
    lab("up")


def answers(board: str) -> bool:
    """Whether a board accepts connections for ssh."""
    with socket.create_connection((CLUSTER.address(board), 22), timeout=5):
        return True


def internal_addresses() -> set[str]:
    """Addresses that Nodes have in Kubernetes."""
    nodes = core().list_node(_request_timeout=10).items
    return {each.address for node in nodes for each in node.status.addresses if each.type == "InternalIP"}


@pytest.mark.extended
def test_a_cluster_that_was_moved_to_another_network_works_there(plays: Plays, old: str) -> None:
    # Pods of one's own that use the claim are stopped first.
    client.AppsV1Api(kubernetes_api()).delete_namespaced_daemon_set("reader", NAMESPACE)
    weights = connect(SERVER).file(WEIGHTS).sha256sum
    password = (CLUSTER.path("cluster_secrets_dir") / "jupyter-password").read_text()
    certificate = core().read_namespaced_secret("jupyter-tls", NAMESPACE).data["tls.crt"]
    machines = {board: connect(board).check_output("cat /etc/machine-id") for board in BOARDS}
    there = ("-e", f"flash_new_network={NEW}.0/24", "-e", f"flash_new_gateway={NEW}.1")
    step = plays.run("readdress", "playbooks/readdress.yml", *there)
    assert step.changed_hosts() == set(BOARDS)
    assert f"pi-01: {old}.11 until it is switched off, {NEW}.11 at its next start" in " ".join(step.output.split())
    unchanged(plays.run("readdress again", "playbooks/readdress.yml", *there))
    assert ready_nodes() == dict.fromkeys(BOARDS, True)
    plays.run("stop", "playbooks/stop.yml")

    move_lab()
    # The image's address is a part of a card's identity, where its digest is not pinned: the mirror is the gateway.
    image = str(CLUSTER.var("flash_image_url", SERVER)).replace(f"{NEW}.", f"{old}.")
    site = ("site.yml", *FAST, "-e", f"flash_image_url={image}")
    for board in BOARDS:
        # A board that does not answer would be taken for one to flash. The first site.yml learns its host key.
        wait_until(f"{board} has its new address", 300, lambda board=board: answers(board))
    with mirror_at(image):
        step = plays.run("site, in the other network", *site)
    output = " ".join(step.output.split())
    for number, board in zip((11, 12, 13, 15), BOARDS, strict=True):
        assert f"{board} had the address {old}.{number}, and has {NEW}.{number} now" in output
    assert f"The volume was on {old}.11, and is made anew on {NEW}.11" in output

    assert {board: connect(board).check_output("cat /etc/machine-id") for board in BOARDS} == machines
    assert ready_nodes() == dict.fromkeys(BOARDS, True)
    assert internal_addresses() == {CLUSTER.address(board) for board in BOARDS}
    assert core().read_persistent_volume("nfs").spec.nfs.server == f"{NEW}.11"
    assert connect(SERVER).file(WEIGHTS).sha256sum == weights
    exports = connect(SERVER).check_output("exportfs -s")
    assert f"{NEW}.12(" in exports and f"{old}." not in exports
    for board in ("pi-02", "pi-03"):
        wait_until(f"{board} reads from the export", 180, lambda board=board: reads(board))
        mounts = connect(board).check_output("findmnt --noheadings --types nfs4 --output SOURCE").split()
        assert set(mounts) == {f"{NEW}.11:/"}
    # No route, address or setting of the old network is left.
    for board in BOARDS:
        seen = "ip route; ip -oneline address; cat /etc/rancher/k3s/config.yaml"
        assert f"{old}." not in connect(board).check_output(seen)
    folder = CLUSTER.path("cluster_secrets_dir")
    (cluster,) = yaml.safe_load((folder / "kubeconfig").read_text())["clusters"]
    assert cluster["cluster"]["server"] == f"https://{NEW}.11:6443"
    assert f"{old}." not in (folder / "known_hosts").read_text()
    assert (folder / "jupyter-password").read_text() == password
    assert core().read_namespaced_secret("jupyter-tls", NAMESPACE).data["tls.crt"] != certificate
    # For browsers, which have the CA: at every board's new address.
    context = ssl.create_default_context(cafile=str(folder / "ingress-ca.crt"))
    for board in BOARDS:
        with socket.create_connection((CLUSTER.address(board), 443), timeout=20) as connection:
            context.wrap_socket(connection, server_hostname=CLUSTER.address(board)).close()
    plays.run("check", "playbooks/check.yml")
    with mirror_at(image):
        unchanged(plays.run("site again", *site))
