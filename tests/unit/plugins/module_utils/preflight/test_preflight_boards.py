"""Checks of the boards, and the module that gathers their information."""

import json
import os
import subprocess
import sys
from dataclasses import replace

from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.boards import BoardInfo, Limits, check
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.model import Report

from tests.support.paths import COLLECTIONS

LIMITS = Limits(["aarch64"], ["Raspberry Pi 4"], ["trixie"], 1700, 2000)
GOOD = BoardInfo(
    host="pi-01",
    address="192.168.1.11",
    architecture="aarch64",
    model="Raspberry Pi 4 Model B Rev 1.5",
    serial="10000000a1b20001",
    release="trixie",
    memory_mb=3792,
    disk_mb=26000,
    disk_path="/var/lib",
)


def errors(*boards: BoardInfo, limits: Limits = LIMITS) -> list[str]:
    report = Report()
    check([(board, limits) for board in boards], report)
    return [str(finding) for finding in report.findings()]


def test_valid_board() -> None:
    assert errors(GOOD) == []
    assert errors(replace(GOOD, model="Orange Pi"), limits=replace(LIMITS, models=[])) == []


def test_all_errors_of_all_boards_are_in_one_list() -> None:
    old = replace(
        GOOD,
        host="pi-02",
        serial="",
        architecture="armv7l",
        model="Raspberry Pi 2 Model B Rev 1.1",
        release="bullseye",
        memory_mb=922,
        disk_mb=1100,
    )
    assert errors(
        GOOD,
        old,
        BoardInfo("pi-03", "192.168.1.13", problem="Connection timed out"),
        replace(GOOD, host="pi-04", bits=32),
    ) == [
        "pi-02: OS release = bullseye: not one of the supported releases (trixie); "
        "flash a newer Raspberry Pi OS (flash_image_url)",
        "pi-02: architecture = armv7l: unsupported architecture; "
        "use a board and an image for aarch64 (preflight_architectures)",
        "pi-02: free disk = 1100 MiB on /var/lib: less than 2000 MiB; "
        "use a larger card, or check that its root file system was expanded (df -h /)",
        "pi-02: memory = 922 MiB: less than 1700 MiB; use a board with more, or lower preflight_memory_mb for this one",
        "pi-02: model = Raspberry Pi 2 Model B Rev 1.1: unsupported model; "
        "use a Raspberry Pi 4, or add this one to preflight_models",
        "pi-03: ansible_host = 192.168.1.13: unreachable: Connection timed out; "
        "check its power, its cable and its card, or exclude it with -l",
        "pi-04: architecture = 32-bit programs on a aarch64 kernel: there are no 32-bit images for the workload; "
        "flash a 64-bit Raspberry Pi OS",
        "pi-04: serial = 10000000a1b20001: pi-01 has the same serial number: both addresses belong to the same board; "
        "correct ansible_host of one of them",
    ]


def test_module_reports_what_this_machine_is() -> None:
    arguments = json.dumps({"ANSIBLE_MODULE_ARGS": {"disk_path": "/"}})
    module = "ansible_collections.edge_ai.cluster.plugins.modules.preflight_info"
    done = subprocess.run(
        [sys.executable, "-m", module], input=arguments, capture_output=True, text=True, check=True, cwd=COLLECTIONS
    )
    info = json.loads(done.stdout)
    assert info["architecture"] == os.uname().machine
    assert info["memory_mb"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    assert info["disk_mb"] > 0
    assert info["changed"] is False
