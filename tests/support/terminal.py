"""A terminal for ansible-playbook: what a user would see of it, at the end and at each moment before."""

from __future__ import annotations

import codecs
import os
import re
import select
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support import ansible_playbook

_PART = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b.|\r|\n|\x08|[^\x1b\r\n\x08]+")


class Screen:
    """The lines that a program's output leaves on a terminal, and those that have left it above."""

    def __init__(self, columns: int = 80) -> None:
        self.columns = columns
        self.lines = [""]
        self.row = self.column = 0
        self.unknown: list[str] = []

    @property
    def screen(self) -> str:
        """What is on the screen and above it now."""
        return "\n".join(line.rstrip() for line in self.lines).rstrip("\n")

    def write(self, text: str) -> None:
        """Show what a program wrote; a sequence is not in two parts."""
        for found in _PART.finditer(text):
            part, (numbers, final) = found.group(), found.groups()
            if part == "\r":
                self.column = 0
            elif part == "\n":
                self.row, self.column = self.row + 1, 0
            elif part == "\x08":
                self.column = max(0, self.column - 1)
            elif final == "A":
                self.row = max(0, self.row - int(numbers or 1))
            elif final == "K":
                self._line()
                self.lines[self.row] = "" if numbers == "2" else self.lines[self.row][: self.column]
            elif final == "m" or (final in ("h", "l") and numbers == "?25"):
                pass
            elif part.startswith("\x1b"):
                self.unknown.append(part)
            else:
                for one in part:
                    self._put(one)

    def _line(self) -> None:
        while len(self.lines) <= self.row:
            self.lines.append("")

    def _put(self, one: str) -> None:
        if self.column == self.columns:
            self.row, self.column = self.row + 1, 0
        self._line()
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + one + line[self.column + 1 :]
        self.column += 1


class Terminal(Screen):
    """Runs ansible-playbook on a pseudo terminal and keeps the lines that its output leaves on the screen."""

    def __init__(
        self, arguments: Sequence[str | Path], cwd: Path, env: Mapping[str, str], columns: int = 80,
        stderr: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(columns)
        self.raw = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._rest = ""
        self._fd, child = ansible_playbook.open_terminal(columns)
        # The size is the terminal's own: pytest's workers have another one in their environment.
        env = {name: value for name, value in env.items() if name not in ("COLUMNS", "LINES")}
        stdio = [child, child, child if stderr is None else stderr]
        self.process = ansible_playbook.start(arguments, cwd, env, stdio, columns)
        os.close(child)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._fd, text.encode())

    def read(self, seconds: float) -> bool:
        """Take what comes in that time; false after the end."""
        if not select.select([self._fd], [], [], seconds)[0]:
            return True
        try:
            found = os.read(self._fd, 1 << 16)
        except OSError:
            found = b""
        if not found:
            return False
        # Bytes of a character, and a sequence, may come in two parts.
        text = self._rest + self._decoder.decode(found)
        cut = re.search(r"\x1b(\[[0-9;?]*)?$", text)
        text, self._rest = (text[: cut.start()], text[cut.start() :]) if cut else (text, "")
        self.raw += text
        self.write(text)
        return True

    def until(self, text: str, seconds: float = 180) -> None:
        """Wait until a text is on the screen."""
        end = time.monotonic() + seconds
        while text not in self.screen:
            assert self.read(0.2), f"ended without {text!r}:\n{self.screen}"
            assert time.monotonic() < end, f"no {text!r} in {seconds} s:\n{self.screen}"

    def wait(self, seconds: float = 120) -> int:
        """Wait for the end; the command's exit status."""
        end = time.monotonic() + seconds
        while self.read(0.2):
            assert time.monotonic() < end, f"not done in {seconds} s:\n{self.screen}"
        os.close(self._fd)
        return self.process.wait(30)
