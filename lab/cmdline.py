"""The kernel line of a board: what the firmware of a Raspberry Pi makes of cmdline.txt."""

import re

from lab.errors import LabError
from lab.settings import Board

UMID = "board"
"""The guest's name for its management socket, which is <uml_dir>/<UMID>/mconsole."""


def tokens_of(cmdline: str) -> list[str]:
    """The tokens of a cmdline.txt.

    Raises:
        LabError: it has none, more than one line (the firmware reads only the first), or no root=.
    """
    lines = [line for line in cmdline.splitlines() if line.strip()]
    if len(lines) != 1:
        raise LabError(f"cmdline.txt has {len(lines)} lines; the firmware reads exactly one")
    tokens = lines[0].split()
    if not any(token.startswith("root=") for token in tokens):
        raise LabError("cmdline.txt has no root=, so the kernel would find no root file system")
    return tokens


def firmware_tokens(tokens: list[str]) -> list[str]:
    """What reaches the kernel of the tokens of cmdline.txt.

    The device tree of a Pi puts `cgroup_disable=memory` first, and Raspberry Pi's kernel obeys the last of
    cgroup_disable and cgroup_enable. User-mode Linux has no cgroup_enable, so the outcome is worked out here.
    `console=` is for serial ports and screens that these boards lack.
    """
    memory_disabled = True
    kept = []
    for token in tokens:
        key, _, values = token.partition("=")
        if key == "console":
            continue
        if key in ("cgroup_disable", "cgroup_enable") and "memory" in values.split(","):
            memory_disabled = key == "cgroup_disable"
            if memory_disabled:
                continue
        kept.append(token)
    return (["cgroup_disable=memory"] if memory_disabled else []) + kept


def identity(board: Board, ntp: str) -> list[str]:
    """What lab/os/usr/lib/edge-lab/board reads on a board: who it is, and the address of the lab's clock."""
    return [
        f"edge_lab.revision={board.revision}",
        f"edge_lab.serial={board.serial}",
        f"edge_lab.model={board.model.replace(' ', '_')}",
        f"edge_lab.ntp={ntp}",
    ]


def kernel_arguments(tokens: list[str], board: Board, interface: str, ntp: str) -> list[str]:
    """All arguments of the User-mode Linux binary for a board.

    Args:
        tokens: of the card's cmdline.txt.
        board: the hardware.
        interface: the board's end of its network cable (a veth) in the lab's namespace.
        ntp: address of the lab's clock.
    """
    return [
        f"mem={board.memory}",
        # Paths as confine.py shows them to the kernel.
        "ubda=/card.img",
        # transport=raw on a veth: tap devices proved unreliable with the vector driver.
        f"vec0:transport=raw,ifname={interface},depth=128,mac={board.mac}",
        "seccomp=on",
        "con=null",
        "con0=fd:0,fd:1",
        f"umid={UMID}",
        "uml_dir=/uml",
        # A reboot ends the process, so that the launcher can read cmdline.txt afresh.
        "noreboot",
        # 512 devices of a kind that boards lack: udev spends 2 s of each boot on them.
        "pty.legacy_count=0",
        *identity(board, ntp),
        *firmware_tokens(tokens),
    ]


def without_resize(cmdline: str, disk_id: str) -> str:
    """cmdline.txt after the first boot: new disk id, no `resize`."""
    line = re.sub(r"PARTUUID=[0-9a-fA-F]{8}-", f"PARTUUID={disk_id}-", cmdline.strip())
    return " ".join(token for token in line.split() if token != "resize") + "\n"
