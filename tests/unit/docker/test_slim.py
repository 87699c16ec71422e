"""What is removed from the image, and what is kept."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import shutil
from pathlib import Path

import pytest

from docker import slim


def test_stripped_library_still_loads(tmp_path: Path) -> None:
    """A real extension of this Python, with symbols appended after what the loader reads."""
    specs = [importlib.util.find_spec(name) for name in ("_json", "_lzma", "_bz2")]  # Debian 13 has _json built in.
    original = next(Path(spec.origin) for spec in specs if spec and spec.origin and spec.origin.endswith(".so"))
    copy = tmp_path / original.name
    shutil.copy(original, copy)
    with copy.open("ab") as file:
        file.write(b"symbols of a debugger" * 1000)
    assert slim.strip(copy) >= 21000
    name = original.name.partition(".")[0]
    loader = importlib.machinery.ExtensionFileLoader(name, str(copy))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))  # type: ignore[arg-type]
    loader.exec_module(module)
    assert set(dir(importlib.import_module(name))) <= set(dir(module))
    assert slim.strip(copy) == 0


def test_file_that_is_not_a_library_is_not_changed(tmp_path: Path) -> None:
    script = tmp_path / "linker.so"
    script.write_text("GROUP ( libc.so.6 )")
    assert slim.strip(script) == 0
    assert script.read_text() == "GROUP ( libc.so.6 )"


def test_pattern_without_a_match_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    slim.remove(tmp_path, ("here",))
    assert not (tmp_path / "here").exists()
    with pytest.raises(SystemExit, match="'missing'"):
        slim.remove(tmp_path, ("missing",))
