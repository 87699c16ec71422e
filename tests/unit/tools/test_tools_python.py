"""Which Python the environment is made from."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SHIM = "echo 'pyenv: command not found' >&2; exit 127"
"""What a version manager leaves on PATH for a version that is not active."""


def fake(release: str, environments: bool = True) -> str:
    """Body of a script that answers what tools/python asks an interpreter."""
    return f'case "$2" in *version_info*) echo "$0 {release}" ;; *ensurepip*) exit {0 if environments else 1} ;; esac'


def choose(folder: Path, interpreters: dict[str, str], python: str = "") -> subprocess.CompletedProcess[str]:
    """Run tools/python where nothing but bash and these interpreters is on PATH."""
    shell = shutil.which("bash")
    assert shell
    (folder / "bash").symlink_to(shell)
    for name, body in interpreters.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    environment = {"PATH": str(folder), "PYTHON": python}
    return subprocess.run([ROOT / "tools/python"], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("interpreters", "chosen"),
    [
        ({"python3": fake("3.11")}, "python3"),
        ({"python3": fake("3.11"), "python3.14": fake("3.14"), "python3.12": fake("3.12")}, "python3.14"),
        ({"python3": fake("3.11"), "python3.14": SHIM, "python3.12": fake("3.12")}, "python3.12"),
        ({"python3": fake("3.11"), "python3.13": fake("3.13", environments=False)}, "python3"),
        ({"python3": fake("3.13", environments=False)}, "python3"),
        ({"python3": fake("3.15"), "python3.13": fake("3.13")}, "python3.13"),
    ],
    ids=["only one", "newest", "shim", "without ensurepip", "ensurepip can be installed", "too new"],
)
def test_newest_that_is_locked_for_is_chosen(tmp_path: Path, interpreters: dict[str, str], chosen: str) -> None:
    result = choose(tmp_path, interpreters)
    assert (result.returncode, result.stdout.strip()) == (0, str(tmp_path / chosen)), result.stderr


@pytest.mark.parametrize("interpreters", [{}, {"python3": fake("3.10")}, {"python3": SHIM}])
def test_none_is_an_error_with_the_remedy(tmp_path: Path, interpreters: dict[str, str]) -> None:
    result = choose(tmp_path, interpreters)
    assert result.returncode == 1
    assert "no Python 3.14, 3.13, 3.12, 3.11 is installed: apt-get install python3" in result.stderr


def test_named_one_is_taken(tmp_path: Path) -> None:
    result = choose(tmp_path, {"python3.14": fake("3.14"), "python3.11": fake("3.11")}, python="python3.11")
    assert result.stdout.strip() == str(tmp_path / "python3.11")


@pytest.mark.parametrize(
    ("interpreters", "message"),
    [
        (
            {"python3.9": fake("3.9"), "python3": fake("3.13")},
            "PYTHON=python3.9 is Python 3.9; requirements.txt is locked",
        ),
        ({"python3": fake("3.13")}, "PYTHON=python3.9 cannot be run"),
    ],
)
def test_named_one_that_does_not_fit_is_refused(tmp_path: Path, interpreters: dict[str, str], message: str) -> None:
    result = choose(tmp_path, interpreters, python="python3.9")
    assert result.returncode == 1
    assert message in result.stderr
