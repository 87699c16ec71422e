"""Boards of arm64: what QEMU is given, and its management socket."""

import json
import shutil
import socket
import subprocess
import threading

import pytest

from lab import qemu, settings
from lab.errors import LabError

LAB = settings.parse((settings.PACKAGE / "lab.toml").read_text(), {}, cpus=2)
(BOARD,) = [board for board in LAB.boards if board.arch == "arm64"]


def test_kernel_line_has_what_the_board_is_and_what_the_firmware_passes_on():
    line = qemu.kernel_line(["console=serial0,115200", "root=PARTUUID=1234abcd-02", "rootwait"], BOARD, "10.77.0.1")
    assert line[:2] == ["console=ttyAMA0", "net.ifnames=0"]
    assert "edge_lab.model=Raspberry_Pi_4_Model_B_Rev_1.5" in line
    assert line[-3:] == ["cgroup_disable=memory", "root=PARTUUID=1234abcd-02", "rootwait"]


def test_kernel_does_not_hide_its_memory_and_systemd_waits_as_long_as_a_slow_board_needs():
    line = qemu.kernel_line(["root=x"], BOARD, "10.77.0.1")
    assert "nokaslr" in line
    waits = [token.rpartition("=")[::2] for token in line if token.startswith("systemd.default_")]
    assert dict(waits) == {f"systemd.default_{what}_sec": "900" for what in ("timeout_start", "device_timeout")}


def test_machine_has_the_board_s_cable_card_and_memory(tmp_path):
    options = " ".join(qemu.arguments(BOARD, tmp_path, ["root=x", "rootwait"], 7))
    assert "-append root=x rootwait" in options
    assert "tap,id=cable,fd=7" in options and f"mac={BOARD.mac}" in options
    assert "-m 3072M" in options and "-cpu cortex-a72" in options
    assert f"-kernel {tmp_path}/kernel8.img -initrd {tmp_path}/initramfs8" in options


def test_missing_programs_are_reported_with_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr(qemu, "PROGRAM", tmp_path / "qemu-system-aarch64")
    with pytest.raises(LabError, match=r"pi-06 is a board of arm64: .*qemu-system-aarch64 .*tools/setup --arm64"):
        qemu.command(LAB, BOARD, ["root=x"], tmp_path)


@pytest.mark.skipif(not qemu.PROGRAM.exists() or not shutil.which("fdtput"), reason="tools/setup --arm64 installs it")
def test_device_tree_says_raspberry_pi(tmp_path):
    tree = tmp_path / "board.dtb"
    qemu.device_tree(BOARD, tree)

    def read(node, name, kind="s"):
        argv = ["fdtget", "-t", kind, tree, node, name]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    assert read("/", "model") == "Raspberry Pi 4 Model B Rev 1.5"
    assert read("/", "compatible").split() == ["raspberrypi,4-model-b", "brcm,bcm2711", "linux,dummy-virt"]
    assert read("/", "serial-number") == BOARD.serial
    assert read("/system", "linux,revision", "x") == "c03115"


def machine(folder, answers):
    """A process that talks as QEMU does; what it was asked."""
    asked = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / qemu.QMP))
    listener.listen()

    def serve():
        connection, _ = listener.accept()
        with connection, connection.makefile("rw") as lines:
            lines.write('{"QMP": {"version": {}}}\n')
            lines.flush()
            for answer in answers:
                asked.append(json.loads(lines.readline())["execute"])
                lines.write(json.dumps(answer) + "\n")
                lines.flush()
        listener.close()

    thread = threading.Thread(target=serve)
    thread.start()
    return thread, asked


def test_power_button(tmp_path):
    thread, asked = machine(tmp_path, [{"return": {}}, {"return": {}}])
    qemu.press_power_button(tmp_path)
    thread.join()
    assert asked == ["qmp_capabilities", "system_powerdown"]


def test_power_button_that_does_not_work_is_an_error(tmp_path):
    thread, _ = machine(tmp_path, [{"error": {"desc": "no"}}])
    with pytest.raises(OSError, match="qmp_capabilities"):
        qemu.press_power_button(tmp_path)
    thread.join()
