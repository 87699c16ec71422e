"""What a virtual board prints, as `python -m lab console` shows it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab import cli


def shown(folder: Path, printed: bytes, capsys: pytest.CaptureFixture[str]) -> str:
    path = folder / "pi-01.console"
    path.write_bytes(printed)
    settings: Any = SimpleNamespace(console=lambda _: path, board=lambda name: name)
    cli.console(settings, "pi-01", follow=False)
    return capsys.readouterr().out


def test_a_boot_is_shown_without_colours_and_to_its_last_character(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = "[\x1b[0;32m  OK  \x1b[0m] Started \u201cssh\u201d.\r\n\r\npi-01 login: ".encode()
    assert shown(tmp_path, printed, capsys) == "[  OK  ] Started \u201cssh\u201d.\n\npi-01 login: "


def test_whoever_is_root_on_a_board_moves_no_cursor_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = b"\x1b]0;title\x07\x1b[2J\x1bP$q\x9b2J\x08\rroot@host:~# \xff\xe2\x80\xae\n"
    found = shown(tmp_path, printed, capsys)
    assert found.removesuffix("\n").isprintable()
    assert found.startswith(r"\x1b]0;title\x07\x1b[2J\x1bP$q")
    # A character of several bytes may lie on the border of two reads.
    long = ("\u00e4" * 70_000 + "\n").encode()
    assert shown(tmp_path, b"x" + long, capsys) == "x" + long.decode()
