"""Switching boards on and off, and what is known about each."""

import os
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab import card, cmdline, network, owner, process
from lab.progress import say
from lab.settings import Board, Settings

POWER_OFF_SECONDS = {"amd64": 60, "arm64": 300}
"""How long a guest may take to shut down, by its architecture; then it loses power."""


def pid_file(settings: Settings, board: Board) -> Path:
    """Pid file of a board's launcher."""
    return settings.run / f"{board.name}.pid"


def power_on(settings: Settings, board: Board) -> bool:
    """Switch a board on; whether it was off. It boots from then on by itself.

    Raises:
        LabError: the lab is down, or the card holds nothing to boot.
    """
    owner.require_up(settings)
    with owner.locked(settings, board.name):
        if process.running(pid_file(settings, board)):
            return False
        _sweep(settings, board)
        cmdline.tokens_of(card.read_boot_file(settings.card(board), "cmdline.txt"))
        settings.logs.mkdir(parents=True, exist_ok=True)
        launcher_log = settings.logs / f"{board.name}.launcher"
        # In the lab's network: the guest answers on the management console within it alone.
        inside = ["nsenter", f"--net=/run/netns/{settings.namespace}"]
        process.start_daemon(["_board", board.name], pid_file(settings, board), launcher_log, prefix=inside)
    return True


def power_off(settings: Settings, board: Board, hard: bool, seconds: float = 0) -> bool:
    """Switch a board off; whether it was on.

    Args:
        settings: the lab.
        board: the board.
        hard: pull the plug instead of pressing the power button.
        seconds: how long the guest may take after the button; then the plug is pulled.
    """
    if not settings.run.is_dir():
        return False
    owner.refuse_if_foreign(settings)
    with owner.locked(settings, board.name):
        launcher = process.running(pid_file(settings, board))
        if not hard and press_power_button(settings, board) and launcher and not process.wait_gone(launcher, seconds):
            say(f"{board.name}: did not shut down in time; its plug is pulled")
        _sweep(settings, board)
    return launcher is not None


def is_on(settings: Settings, board: Board) -> bool:
    """Whether a board is powered on."""
    return process.running(pid_file(settings, board)) is not None


def shut_down(settings: Settings, chosen: Sequence[Board]) -> list[Board]:
    """Press the power buttons of boards and wait until all are off; which were on.

    All at once but for the first board of lab.toml, which goes last: others tend to use what it serves. A board that
    has mounted a share of one that is gone waits for it minutes, in the middle of its shutdown.

    Args:
        settings: the lab.
        chosen: the boards.
    """
    last = settings.boards[0]
    were_on = []
    for group in ([board for board in chosen if board != last], [board for board in chosen if board == last]):
        pressed = [board for board in group if press_power_button(settings, board)]
        begun = time.monotonic()
        for board in pressed:
            end = begun + POWER_OFF_SECONDS[board.arch]
            power_off(settings, board, hard=False, seconds=max(0.0, end - time.monotonic()))
        were_on += pressed
    return [board for board in chosen if board in were_on]


def press_power_button(settings: Settings, board: Board) -> bool:
    """Ask a board to shut down, without waiting for it; whether it is on."""
    launcher = process.running(pid_file(settings, board))
    if launcher:
        os.kill(launcher.pid, signal.SIGTERM)
    return launcher is not None


def _sweep(settings: Settings, board: Board) -> None:
    """Remove what is left of a board that is off or must be."""
    for path in (pid_file(settings, board), settings.run / f"{board.name}.guest"):
        identity = process.read_identity(path)
        if identity:
            process.kill_session(identity)
        path.unlink(missing_ok=True)
    shutil.rmtree(settings.run / "uml" / board.name, ignore_errors=True)


def describe(settings: Settings, board: Board, lab_is_up: bool) -> dict[str, Any]:
    """What `status` shows of a board."""
    launcher = process.running(pid_file(settings, board))
    path = settings.card(board)
    network_state = "none"
    if lab_is_up:
        network_state = "cut" if network.is_cut(settings, board) else "connected"
    return {
        "name": board.name,
        "power": "on" if launcher else "off",
        "pid": launcher.pid if launcher else None,
        "uptime": round(process.uptime(launcher), 1) if launcher else None,
        "card": str(path),
        "card_present": path.is_file(),
        "seeded": card.is_seeded(path),
        "network": network_state,
        "console": str(settings.console(board)),
        "mac": board.mac,
        "serial": board.serial,
        "revision": board.revision,
        "model": board.model,
        "memory": board.memory,
        "core": board.core,
    }
