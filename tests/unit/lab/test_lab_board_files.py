"""The scripts of lab/os that run on the boards, run here on made-up input."""

import os
import subprocess

import pytest

from lab.settings import PACKAGE

BOARD = PACKAGE / "os/usr/lib/edge-lab/board"
SWAP = PACKAGE / "os/usr/lib/systemd/system-generators/rpi-swap-generator"
CPUINFO = "processor\t: 0\nvendor_id\t: User Mode Linux\n\nprocessor\t: 1\nvendor_id\t: User Mode Linux\n\n"


def test_cpuinfo_gets_a_clock_per_processor_and_the_lines_of_a_pi(tmp_path):
    proc, run = tmp_path / "proc", tmp_path / "run"
    proc.mkdir()
    (proc / "cpuinfo").write_text(CPUINFO)
    (proc / "cmdline").write_text(
        "mem=3G edge_lab.revision=c03115 edge_lab.serial=10000000a1b20001 "
        "edge_lab.model=Raspberry_Pi_4_Model_B_Rev_1.5 edge_lab.ntp=10.77.0.1 root=/dev/x\n"
    )
    environment = {**os.environ, "EDGE_LAB_PROC": str(proc), "EDGE_LAB_RUN": str(run)}
    subprocess.run(["sh", BOARD], check=True, env=environment)
    lines = (run / "edge-lab/cpuinfo").read_text().splitlines()
    assert sum(line.startswith("cpu MHz") for line in lines) == 2
    assert "Revision\t: c03115" in lines
    assert "Serial\t\t: 10000000a1b20001" in lines
    assert "Model\t\t: Raspberry Pi 4 Model B Rev 1.5" in lines
    assert "NTP=10.77.0.1\n" in (run / "systemd/timesyncd.conf.d/40-edge-lab.conf").read_text()


def swap(tmp_path, main="", dropins=()):
    etc, units = tmp_path / "etc", tmp_path / "units"
    (etc / "swap.conf.d").mkdir(parents=True)
    units.mkdir()
    (etc / "swap.conf").write_text(main)
    for number, text in enumerate(dropins):
        (etc / "swap.conf.d" / f"{number}0.conf").write_text(text)
    (tmp_path / "meminfo").write_text("MemTotal:        1024000 kB\n")
    environment = {**os.environ, "RPI_ETC": str(etc), "RPI_MEMINFO": str(tmp_path / "meminfo")}
    subprocess.run(["sh", SWAP, units, units, units], check=True, env=environment)
    return {path.name: path.read_text() for path in units.rglob("*") if path.is_file()}


def test_stock_swap_is_zram_of_the_board_s_memory(tmp_path):
    units = swap(tmp_path, "[Main]\n#Mechanism=auto\n")
    assert "What=/dev/zram0" in units["dev-zram0.swap"]
    assert "echo 1000M" in units["rpi-setup-zram0.service"]


@pytest.mark.parametrize(
    "text", ["[Main]\nMechanism=none\n", "[Main]\nMechanism = none\n", "[Zram]\n[Main]\nMechanism=none"]
)
def test_a_drop_in_turns_swap_off(tmp_path, text):
    assert swap(tmp_path, "[Main]\nMechanism=zram\n", [text]) == {}


def test_the_last_drop_in_wins_and_sections_count(tmp_path):
    units = swap(
        tmp_path, "", ["[Main]\nMechanism=none\n", "[Main]\nMechanism=swapfile\n[File]\nPath=/var/s\nFixedSizeMiB=64\n"]
    )
    assert "What=/var/s" in units["var-s.swap"]
    assert "fallocate -l 64MiB /var/s" in units["rpi-setup-swapfile.service"]
    assert "dev-zram0.swap" not in units


def test_a_size_is_limited(tmp_path):
    units = swap(tmp_path, "[Zram]\nRamMultiplier=4\nMaxSizeMiB=3000\n")
    assert "echo 3000M" in units["rpi-setup-zram0.service"]
