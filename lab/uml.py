"""A board of amd64: a User-mode Linux kernel, which is a process."""

import sys
from pathlib import Path

from lab import cmdline, mconsole, network, owner
from lab.settings import PACKAGE, Board, Settings


def command(settings: Settings, board: Board, tokens: list[str], folder: Path) -> tuple[list[str], list[int]]:
    """The confined kernel, as a command, and descriptors that it takes over: none."""
    root = settings.run / "root"
    root.mkdir(exist_ok=True)
    argv = [
        # Pinning makes a system call of the guest cost 5 us instead of 80.
        *("taskset", "--cpu-list", str(board.core)),
        *(sys.executable, "-I", str(PACKAGE / "confine.py")),
        f"--root={root}",
        f"--kernel={owner.require_up(settings).kernel}",
        f"--card={settings.card(board)}",
        f"--uml-dir={folder}",
        f"--uid={settings.uid}",
        f"--memory={board.memory_mib}",
        "--",
        *cmdline.kernel_arguments(tokens, board, interface=network.board_end(board), ntp=settings.gateway),
    ]
    return argv, []


def press_power_button(folder: Path) -> None:
    """Have the guest shut down.

    Raises:
        OSError: no process listens, or it does not answer.
    """
    mconsole.ask(folder / cmdline.UMID / "mconsole", "cad")
