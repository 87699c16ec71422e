"""Draw a run on a terminal: lines that stay, and below them lines that are drawn again while something runs.

Whatever is shown here is made safe first: boards and notebooks send text, and none of it may move the cursor.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ansible.utils.display import Display
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import printable
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

#: Longest line and most lines of one message on the screen; the log has all of it.
LINE, LINES = 2000, 100
#: How often the rows of what runs are drawn, each second.
REFRESHES = 4
#: A colour; Ansible puts one before and one after each line, and a reset after it.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_RESET = "\x1b[0m"


def safe(text: object, longest: int = LINE) -> list[str]:
    """The lines of a text, with control characters as escapes."""
    return [printable(line.expandtabs().rstrip(), longest) for line in str(text).replace("\r\n", "\n").split("\n")]


def _bare(line: str) -> str:
    """A line without the colours around it. In linear time: others make lines of nothing else."""
    begin, end = 0, len(line)
    while found := _COLOUR.match(line, begin):
        begin = found.end()
    while (last := line.rfind("\x1b", begin, end)) >= 0 and _COLOUR.fullmatch(line, last, end):
        end = last
    return line[begin:end]


def plain(text: str) -> str:
    """What Ansible wrote, without its colours and with the control characters of others as escapes."""
    return "\n".join(line for each in text.split("\n") for line in safe(_bare(each), sys.maxsize))


def coloured(text: str) -> str:
    """What Ansible wrote, with colours, which end with their line, and other control characters as escapes."""
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        colours = _COLOUR.findall(line)
        texts = [printable(part.expandtabs(), sys.maxsize) for part in _COLOUR.split(line)]
        if colours and colours[-1] != _RESET:
            texts[-1] += _RESET
        lines.append("".join(part for pair in zip(texts, [*colours, ""], strict=True) for part in pair))
    return "\n".join(lines)


@dataclass(frozen=True)
class Row:
    """One line: what it says, and at its right end how long it takes."""

    text: str
    seconds: float
    last: float | None
    mark: str = ""
    style: str = ""

    @property
    def time(self) -> str:
        """Seconds, now and last time."""
        last = "" if self.last is None else f" (last {self.last:.0f} s)"
        return f"{self.seconds:.0f} s{last}"


class Screen:
    """A terminal. `running` gives the rows that are drawn again while a stage runs, and a line without a time."""

    def __init__(self, stream: TextIO, no_color: bool, running: Callable[[], tuple[list[Row], str]]) -> None:
        # A file of its own: Ansible's lock of standard output is held while it writes a warning, and the thread that
        # draws must not wait for it, since it holds what the writer of the warning waits for.
        own = os.fdopen(os.dup(stream.fileno()), "w", encoding="utf-8", errors="replace")
        self.console = Console(
            file=own,
            force_terminal=True,
            color_system=None if no_color else "auto",
            highlight=False,
            markup=False,
            emoji=False,
        )
        self._running = running
        self._spinner = Spinner("dots")
        self._live: Live | None = None
        # Rich finds where the drawn rows begin, and writes afterwards. Where another thread draws fewer rows in
        # between, the first one begins too far up, and erases a line that stays.
        self._drawing = threading.RLock()

    @property
    def is_dumb(self) -> bool:
        """Whether this terminal can only show line after line."""
        return self.console.is_dumb_terminal

    def start(self) -> None:
        """Draw the rows of what runs, four times a second."""
        with self._drawing:
            if self._live or self.is_dumb:
                return
            self._live = Live(
                console=self.console,
                get_renderable=self._draw,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
            # A run that is killed must not leave a terminal without a cursor.
            self.console.show_cursor(True)
            threading.Thread(target=self._refresh, args=(self._live,), daemon=True).start()

    def _refresh(self, live: Live) -> None:
        """Draw until these rows were removed."""
        while True:
            time.sleep(1 / REFRESHES)
            with self._drawing:
                if self._live is not live:
                    return
                live.refresh()

    def stop(self) -> None:
        """Remove the rows of what runs, as for a question."""
        with self._drawing:
            if self._live:
                self._live.stop()
                self._live = None

    def _table(self, rows: list[Row], spinner: RenderableType | None = None) -> Table:
        # Narrower than the terminal: an echoed ^C must not begin a line.
        table = Table.grid(padding=(0, 1, 0, 0))
        table.width = self.console.width - 2
        table.add_column(width=1)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_column(justify="right", no_wrap=True)
        for row in rows:
            table.add_row(spinner or Text(row.mark, row.style), Text(printable(row.text, LINE)), Text(row.time))
            spinner = None
        return table

    def _draw(self) -> Group:
        rows, progress = self._running()
        spinner = self._spinner.render(self.console.get_time())
        lines = [Text(f"    {printable(progress, LINE)}", no_wrap=True, overflow="ellipsis")] if progress else []
        return Group(self._table(rows, spinner), *lines)

    def row(self, row: Row) -> None:
        """Show a line that stays."""
        self._print(self._table([row]))

    def show(self, text: str | list[str], style: str = "", indent: int = 0) -> None:
        """Show lines that stay, wrapped between words."""
        found = text if isinstance(text, list) else safe(text)
        if len(found) > LINES:
            found = [*found[:LINES], f"... {len(found) - LINES} more lines are in the log"]
        for line in found:
            space = " " * (indent + len(line) - len(line.lstrip()))
            for part in textwrap.wrap(
                line.lstrip(),
                self.console.width,
                initial_indent=space,
                subsequent_indent=space,
                break_long_words=False,
                break_on_hyphens=False,
            ) or [""]:
                self._print(Text(part, style), soft_wrap=True)

    def _print(self, what: RenderableType, soft_wrap: bool = False) -> None:
        with self._drawing:
            self.console.print(what, soft_wrap=soft_wrap)


class Written:
    """Standard output or error while what is written there is first made safe, and given to `take`."""

    def __init__(self, stream: TextIO, take: Callable[[str], Any], clean: Callable[[str], str]) -> None:
        self.stream = stream
        self._take, self._clean = take, clean

    def write(self, text: str) -> int:
        """Hand the text on."""
        self._take(self._clean(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        """All else is that of the stream."""
        return getattr(self.stream, name)


class Log:
    """The file with the whole of Ansible's output; only its owner may read it."""

    def __init__(self, folder: Path, name: str, keep: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / name
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        self._file = os.fdopen(descriptor, "w", encoding="utf-8", errors="replace", buffering=1)
        # Names end with the time, e.g. site-20261125T212323Z.log. One that is later than this run's is of a clock that
        # was ahead: it stays, and does not count, for it would have the place of this one.
        logs = [(path.name.rsplit("-", 1)[-1], path) for path in folder.glob("*-????????T??????Z.log")]
        until = name.rsplit("-", 1)[-1]
        earlier = sorted(each for each in logs if each[0] <= until and each[1] != self.path)
        for _, old in earlier[: max(0, len(earlier) + 1 - keep)]:
            old.unlink(missing_ok=True)

    def write(self, text: str) -> None:
        """Add text; raises OSError."""
        self._file.write(text)

    def close(self) -> None:
        """Close the file; what a full disk does not take was reported when it was written."""
        with suppress(OSError):
            self._file.close()


class LogDisplay:
    """A Display whose lines go to the log, not to the screen; warnings still take the way of the real one."""

    def __init__(self, display: Display, write: Callable[[str], None]) -> None:
        self._display = display
        self._write = write

    def __getattr__(self, name: str) -> Any:
        """All else is that of the real Display."""
        return getattr(self._display, name)

    def display(self, msg: str, color: str | None = None, screen_only: bool = False, **_: Any) -> None:
        """Write a message. The recap comes twice, once with colours for the screen."""
        if not screen_only:
            self._write(plain(msg).removesuffix("\n") + "\n")

    def banner(self, msg: str, color: str | None = None, cows: bool = True) -> None:
        """Write a heading."""
        self.display(f"\n{msg.strip()} {'*' * max(3, self._display.columns - len(msg.strip()))}")


def redirect(take_output: Callable[[str], None], take_error: Callable[[str], None]) -> Callable[[], None]:
    """Hand what is written to standard output and error to two functions; returns what ends that."""
    output, error = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Written(output, take_output, plain), Written(error, take_error, plain)

    def end() -> None:
        sys.stdout, sys.stderr = output, error

    return end


def make_safe() -> None:
    """Make safe what is written to standard output and error from now on, and leave it as it is otherwise."""
    if not isinstance(sys.stdout, Written):
        output, error = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = Written(output, output.write, coloured), Written(error, error.write, coloured)
