"""One board under power: plays the firmware, runs the kernel, and starts it again at each reboot.

`python -m lab _board NAME` is this program; `power on` starts it and `power off` ends it.
"""

import os
import signal
import subprocess
import threading
import time
from collections import deque
from pathlib import Path
from types import FrameType
from typing import IO

from lab import card, cmdline, process, qemu, uml
from lab.errors import LabError
from lab.settings import Board, Settings

CONSOLE_LIMIT = 4 << 20
"""Bytes of console log kept; as much again in <board>.console.1."""

CRASHES = 3
"""How often in a row the watchdog resets a guest that ended by itself within a minute."""

REBOOT = b"reboot: Restarting system"
ENDINGS = (b"reboot: Power down", b"reboot: System halted")


def how_it_ended(tail: bytes) -> str:
    """What the last output of a guest says: `reboot`, `off`, or `crash` (its exit status is no help)."""
    positions = {"reboot": tail.rfind(REBOOT), "off": max(tail.rfind(ending) for ending in ENDINGS)}
    last = max(positions, key=lambda key: positions[key])
    return last if positions[last] >= 0 else "crash"


class Console:
    """The log of a board's serial console, bounded in size."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = path.open("ab", buffering=0)
        self._recent: deque[bytes] = deque(maxlen=64)

    def write(self, data: bytes) -> None:
        """Append output of the guest."""
        if self._handle.tell() > CONSOLE_LIMIT:
            self._handle.close()
            self.path.replace(self.path.with_name(self.path.name + ".1"))
            self._handle = self.path.open("ab", buffering=0)
        self._handle.write(data)
        self._recent.append(data)

    def note(self, text: str) -> None:
        """Append a line of the launcher's own."""
        self.write(f"\r\n=== {time.strftime('%Y-%m-%d %H:%M:%S')} lab: {text}\r\n".encode())

    def tail(self) -> bytes:
        """The latest output."""
        return b"".join(self._recent)

    def forget(self) -> None:
        """A new boot begins: what was said before does not count for how it ends."""
        self._recent.clear()


class Launcher:
    """A board that is powered on."""

    def __init__(self, settings: Settings, board: Board) -> None:
        self.settings = settings
        self.board = board
        self.card = settings.card(board)
        self.console = Console(settings.console(board))
        self.uml_dir = settings.run / "uml" / board.name
        self.machine = qemu if board.arch == "arm64" else uml
        self._switching_off = threading.Event()

    def run(self) -> int:
        """Boot, and boot again at each reboot, until the guest powers off or SIGTERM asks for it."""
        signal.signal(signal.SIGTERM, self._power_button)
        self.uml_dir.mkdir(parents=True, exist_ok=True)
        process.write_identity(self.settings.run / f"{self.board.name}.pid", process.identify(os.getpid()))
        self.console.note("power on")
        crashes = 0
        while True:
            begun = time.monotonic()
            ending = self._boot()
            if ending == "off" or self._switching_off.is_set():
                break
            crashes = crashes + 1 if ending == "crash" and time.monotonic() - begun < 60 else 0
            if crashes >= CRASHES:
                self.console.note(f"the guest ended by itself {CRASHES} times in a row: power off")
                return 1
            if ending == "crash":
                self.console.note("the guest ended by itself: the watchdog resets the board")
        self.console.note("power off")
        return 0

    def _boot(self) -> str:
        """Boot once; how it ended."""
        if card.first_boot(self.card):
            self.console.note("first boot: the root partition was grown to the card")
        tokens = cmdline.tokens_of(card.read_boot_file(self.card, "cmdline.txt"))
        command, descriptors = self.machine.command(self.settings, self.board, tokens, self.uml_dir)
        self.console.note("machine: " + " ".join(command[command.index("--") + 1 :]))
        self.console.forget()
        guest = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            pass_fds=descriptors,
        )
        for descriptor in descriptors:
            os.close(descriptor)
        # User-mode Linux leads a session of its own: what kills leftovers needs to know it.
        process.write_identity(self.settings.run / f"{self.board.name}.guest", process.identify(guest.pid))
        assert guest.stdout
        reader = threading.Thread(target=self._copy, args=(guest.stdout,), daemon=True)
        reader.start()
        guest.wait()
        reader.join(timeout=2)
        return how_it_ended(self.console.tail())

    def _copy(self, stream: IO[bytes]) -> None:
        while data := stream.read1(65536):  # type: ignore[attr-defined]
            self.console.write(data)

    def _power_button(self, _signal: int, _frame: FrameType | None) -> None:
        """SIGTERM: what pressing the power button does. The guest shuts down; its end ends the loop."""
        if self._switching_off.is_set():
            return
        self._switching_off.set()
        # In a thread: a signal handler must not wait for the guest's answer.
        threading.Thread(target=self._ask_guest_to_stop, daemon=True).start()

    def _ask_guest_to_stop(self) -> None:
        self.console.note("power button pressed")
        try:
            self.machine.press_power_button(self.uml_dir)
        except OSError as error:
            self.console.note(f"the guest does not answer: {error}")


def main(settings: Settings, name: str) -> int:
    """Run a board until it is off."""
    launcher = Launcher(settings, settings.board(name))
    try:
        return launcher.run()
    except LabError as error:
        launcher.console.note(str(error))
        return 1
