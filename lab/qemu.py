"""A board of arm64: a machine of QEMU, all of whose instructions are computed (TCG), without KVM."""

import fcntl
import json
import os
import socket
import struct
import sys
from pathlib import Path

from lab import card, cmdline, network
from lab.command import run
from lab.errors import LabError
from lab.osimage_arm64 import INITRAMFS, KERNEL
from lab.settings import PACKAGE, Board, Settings

PROGRAM = Path("/usr/bin/qemu-system-aarch64")
LOADER = Path("/lib64/ld-linux-x86-64.so.2")
LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
TUN = Path("/dev/net/tun")
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 2, 0x1000
TREE = "board.dtb"
QMP = "qmp"
"""Name of the management socket in the board's folder."""

CPUS = 2

PATIENCE = 900
"""Seconds that systemd on a board waits for a device, or for the start of a service."""


def hardware(board: Board) -> list[str]:
    """Options of the machine itself, which its device tree depends on."""
    return [
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-cpu", "cortex-a72", "-smp", str(CPUS), "-m", f"{board.memory_mib}M"),
    ]


def device_tree(board: Board, path: Path) -> None:
    """Write QEMU's own description of the machine, which then says that it is a Raspberry Pi."""
    run(PROGRAM, *hardware(board), "-machine", f"virt,dumpdtb={path}")
    code = int(board.revision, 16)
    number = {0x11: "4", 0x17: "5"}[code >> 4 & 0xFF]
    chip = {"4": "bcm2711", "5": "bcm2712"}[number]
    run("fdtput", "-t", "s", path, "/", "model", board.model)
    compatible = (f"raspberrypi,{number}-model-b", f"brcm,{chip}", "linux,dummy-virt")
    run("fdtput", "-t", "s", path, "/", "compatible", *compatible)
    run("fdtput", "-t", "s", path, "/", "serial-number", board.serial)
    run("fdtput", "-c", path, "/system")
    run("fdtput", "-t", "x", path, "/system", "linux,revision", board.revision)


def kernel_line(tokens: list[str], board: Board, ntp: str) -> list[str]:
    """What the firmware passes to the kernel.

    Args:
        tokens: of the card's cmdline.txt.
        board: the hardware.
        ntp: address of the lab's clock.
    """
    own = [
        # The wired port of a Raspberry Pi is eth0. A kernel that panics resets the board, as the watchdog would.
        *("console=ttyAMA0", "net.ifnames=0", "panic=5"),
        # With addresses at random the kernel hides its memory from programs, which a Cortex-A72 does not need: each
        # system call would change address spaces, for which QEMU drops what it knows of the memory.
        "nokaslr",
        # systemd gives up after 90 s: here that is a tenth of the time it means.
        *(f"systemd.default_{what}_sec={PATIENCE}" for what in ("timeout_start", "device_timeout")),
    ]
    return [*own, *cmdline.identity(board, ntp), *cmdline.firmware_tokens(tokens)]


def open_cable(board: Board) -> int:
    """The board's end of its network cable, as a descriptor, in the lab's network namespace.

    It has no offloads, as all of the lab's network: another board would get packets that it cannot take.
    """
    descriptor = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", network.switch_end(board).encode(), IFF_TAP | IFF_NO_PI))
    return descriptor


def arguments(board: Board, boot: Path, line: list[str], cable: int) -> list[str]:
    """Options of QEMU, with paths as confine.py shows them to it; `cable` is an open descriptor."""
    return [
        *hardware(board),
        *("-machine", "virt,accel=tcg", "-dtb", str(boot / TREE)),
        *("-kernel", str(boot / KERNEL), "-initrd", str(boot / INITRAMFS), "-append", " ".join(line)),
        # A reboot ends the process, so that the launcher can read the card afresh.
        "-no-reboot",
        *("-serial", "stdio", "-qmp", f"unix:/uml/{QMP},server=on,wait=off"),
        *("-drive", "if=none,id=card,format=raw,file=/card.img", "-device", "virtio-blk-device,drive=card"),
        *("-netdev", f"tap,id=cable,fd={cable}"),
        *("-device", f"virtio-net-device,netdev=cable,mac={board.mac}", "-device", "virtio-rng-device"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
    ]


def command(settings: Settings, board: Board, tokens: list[str], folder: Path) -> tuple[list[str], list[int]]:
    """The confined machine, as a command, and descriptors that it takes over.

    What the firmware reads is copied from the card now.

    Raises:
        LabError: a program is not installed, or the card's boot partition has no kernel.
    """
    if not PROGRAM.exists() or not TUN.exists():
        raise LabError(f"{board.name} is a board of arm64: {PROGRAM} or {TUN} is missing (tools/setup --arm64)")
    # Not in the board's own folder, which its user may write.
    boot = settings.run / "boot" / board.name
    boot.mkdir(parents=True, exist_ok=True)
    for name in (KERNEL, INITRAMFS):
        card.copy_boot_file(settings.card(board), name, boot / name)
    device_tree(board, boot / TREE)
    root = settings.run / "root"
    root.mkdir(exist_ok=True)
    cable = open_cable(board)
    argv = [
        *(sys.executable, "-I", str(PACKAGE / "confine.py")),
        f"--root={root}",
        f"--kernel={PROGRAM}",
        *(f"--read={path}" for path in (PROGRAM, LOADER, LIBRARIES, boot)),
        "--no-raw-packets",
        f"--card={settings.card(board)}",
        f"--uml-dir={folder}",
        f"--uid={settings.uid}",
        f"--memory={board.memory_mib}",
        "--",
        *arguments(board, boot, kernel_line(tokens, board, settings.gateway), cable),
    ]
    return argv, [cable]


def press_power_button(folder: Path) -> None:
    """Have the guest shut down.

    Raises:
        OSError: no process listens, or it does not answer.
    """
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(folder / QMP))
        with client.makefile("rw") as lines:
            lines.readline()
            for request in ("qmp_capabilities", "system_powerdown"):
                lines.write(json.dumps({"execute": request}) + "\n")
                lines.flush()
                if "error" in (answer := lines.readline()):
                    raise OSError(f"qmp {request}: {answer.strip()}")
