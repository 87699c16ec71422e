"""A cluster of two architectures: programs take the board of arm64 for a Raspberry Pi, and it predicts for x86_64."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kubernetes import client

from tests.support.cluster import CLUSTER, connect, kubernetes_api
from tests.support.plays import lab
from tests.support.watch import ready_nodes, wait_until

BOARD = "pi-06"
BUNDLED = ("bridge", "containerd-shim-runc-v2", "ipset", "libipset.so.13", "runc")
RUN = CLUSTER.path("cluster_results_dir") / "latest"


@pytest.fixture
def board() -> Any:
    return connect(BOARD)


def test_board_is_a_raspberry_pi_of_arm64(board: Any) -> None:
    assert board.check_output("uname -m") == "aarch64"
    assert board.check_output("tr -d '\\0' < /proc/device-tree/model") == "Raspberry Pi 4 Model B Rev 1.5"
    assert "raspberrypi,4-model-b" in board.check_output("tr '\\0' ' ' < /proc/device-tree/compatible")
    # Unlike User-mode Linux's kernel this one has it, as k3s proper demands.
    assert "cpuset" in board.check_output("cat /sys/fs/cgroup/cgroup.controllers").split()


def test_both_are_nodes_of_their_architecture() -> None:
    assert ready_nodes() == {"pi-01": True, BOARD: True}
    nodes = client.CoreV1Api(kubernetes_api()).list_node().items
    found = {node.metadata.name: node.status.node_info.architecture for node in nodes}
    assert found == {"pi-01": "amd64", BOARD: "arm64"}


def test_processes_of_k3s_are_programs_of_the_board(board: Any) -> None:
    # Also those of Debian that k3s has in its bundle. Machine of the ELF header: 183 is AArch64.
    for program in ("/usr/local/bin/k3s", *(f"/var/lib/rancher/k3s/data/current/bin/{name}" for name in BUNDLED)):
        assert board.check_output("od -An -tu2 -j18 -N2 %s", program).strip() == "183", program
    assert board.run("systemctl is-active k3s-agent").stdout.strip() == "active"


def test_record_of_the_prediction_says_aarch64_and_has_the_weights_of_x86_64() -> None:
    records = {record["notebook"]: record for record in json.loads((RUN / "timings.json").read_text())}
    training, prediction = records["training"], records["prediction"]
    assert (training["host"], prediction["host"]) == ("pi-01", BOARD)
    assert ", x86_64, " in training["hardware"]
    # Of its processor, not as a Raspberry Pi: its timings are not those of one.
    assert prediction["hardware"] == "Cortex-A72, aarch64, 2 CPUs"
    assert prediction["weights_sha256"] == training["weights_sha256"]
    assert prediction["test_accuracy"] == pytest.approx(training["test_accuracy"], abs=0.0005)
    shown = json.loads((RUN / "fast" / "prediction.json").read_text())
    assert (shown["digit"], shown["label"]) == (0, 0)


def test_power_button_and_a_later_boot() -> None:
    lab("power", "off", BOARD)
    console = lab("console", BOARD)
    assert "its plug is pulled" not in console.split("power button pressed")[-1]
    assert "reboot: Power down" in console
    wait_until(f"{BOARD} is not ready", 120, lambda: ready_nodes()[BOARD] is False)
    lab("power", "on", BOARD)
    wait_until(f"{BOARD} is ready again", 900, lambda: ready_nodes()[BOARD])


def test_cable() -> None:
    lab("network", "cut", BOARD)
    wait_until(f"{BOARD} is not ready", 120, lambda: ready_nodes()[BOARD] is False)
    lab("network", "heal", BOARD)
    wait_until(f"{BOARD} is ready again", 300, lambda: ready_nodes()[BOARD])
