"""A virtual board, even with root on it, reaches nothing of this machine but what its gateway serves."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import process, settings
from tests.support.cluster import CLUSTER

VARIABLES = CLUSTER.variables.get_vars(host=CLUSTER.inventory.get_host("localhost"))
pytestmark = pytest.mark.skipif("lab_subnet" not in VARIABLES, reason="boards of the lab alone")
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)"


@pytest.fixture(scope="module")
def lab() -> settings.Settings:
    return settings.load()


@pytest.fixture
def open_port() -> Iterator[int]:
    """A port on which this machine listens at all its addresses."""
    with socket.create_server(("", 0)) as listener:
        port: int = listener.getsockname()[1]
        # Whoever is let in is answered.
        socket.create_connection(("127.0.0.1", port), 5).close()
        yield port


def other_address() -> str:
    """Address of this machine on its way out, where no name server and no packet is needed to learn it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


def test_the_kernel_is_a_process_without_rights(board: Any, lab: settings.Settings) -> None:
    name = board.check_output("hostname")
    guest = process.running(lab.run / f"{name}.guest")
    assert guest
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{guest.pid}/status").read_text().splitlines())
    assert status["Uid"].split() == status["Gid"].split() == [str(lab.uid)] * 4
    assert status["Groups"].split() == []
    assert status["NoNewPrivs"] == "1"
    raw_packets = 1 << 13
    assert {key: int(value, 16) for key, value in status.items() if key.startswith("Cap")} == dict.fromkeys(
        ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), raw_packets
    )


def test_hostfs_shows_nothing_of_this_machine(board: Any) -> None:
    place = "/run/edge-hostfs"
    board.check_output("mkdir -p %s && mount -t hostfs none %s", place, place)
    try:
        seen = set(board.check_output("ls -A %s", place).split())
        # What the kernel is made of; `root` or `home` leads to the cache of the user who built it.
        assert {"card.img", "dev", "lib", "proc", "uml"} < seen
        assert not seen & {"boot", "etc", "opt", "run", "srv", "tmp", "usr", "var", "work"}
        assert board.check_output("ls -A %s/proc", place) == "cpuinfo"
        assert set(board.check_output("ls -A %s/dev", place).split()) == {"null", "shm"}
        kernel = board.check_output("dirname $(find %s -xdev -name linux.uml)", place)
        for name in ("", "proc/", "dev/", f"{kernel.removeprefix(place + '/')}/"):
            assert board.run("touch %s/%snew", place, name).rc != 0, name
    finally:
        board.check_output("umount %s && rmdir %s", place, place)


def test_ports_of_this_machine_are_closed_to_boards(board: Any, lab: settings.Settings, open_port: int) -> None:
    board.check_output(f"python3 -c '{CONNECT}' {lab.gateway} {lab.mirror_port}")
    for address in (lab.gateway, other_address()):
        assert board.run(f"python3 -c '{CONNECT}' {address} {open_port}").rc != 0, address


def test_names_are_answered_and_not_by_root(board: Any, lab: settings.Settings) -> None:
    board.check_output(f"python3 -c '{CONNECT}' {lab.gateway} 53")
    servers = [
        path.parent
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if f"--listen-address={lab.gateway}\0" in path.read_text(errors="replace")
    ]
    assert servers
    assert all(path.stat().st_uid != 0 for path in servers)
