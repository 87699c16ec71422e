"""Secrets on the control node: generated once, on the disk when the task ends, and shown nowhere."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.action import secret_file as action

from tests.support import ansible_playbook

GENERATE: dict[str, Any] = {"content": None, "length": 24, "characters": "letters", "force": False}


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({}, r"[A-Za-z0-9]{24}\n"),
        ({"characters": "lowercase", "length": 40}, r"[a-z0-9]{40}\n"),
        ({"characters": "hex", "length": 64}, r"[0-9a-f]{64}\n"),
    ],
    ids=["letters", "lowercase", "hex"],
)
def test_a_secret_is_generated_once(tmp_path: Path, options: dict[str, Any], pattern: str) -> None:
    task = GENERATE | options | {"path": str(tmp_path / "token")}
    assert action.put(task, pretend=False)
    first = (tmp_path / "token").read_text()
    assert re.fullmatch(pattern, first)
    assert not action.put(task, pretend=False)
    assert (tmp_path / "token").read_text() == first
    assert action.put(task | {"force": True}, pretend=False)
    assert (tmp_path / "token").read_text() != first


def test_the_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there: list[tuple[str, bool]] = []

    def note(descriptor: int) -> None:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        there.append(("content" if is_file else "name", (tmp_path / "token").exists()))

    monkeypatch.setattr(os, "fsync", note)
    action.put(GENERATE | {"path": str(tmp_path / "token")}, pretend=False)
    assert there == [("content", False), ("name", True)]


@pytest.mark.parametrize(
    ("text", "mode", "is_changed"),
    [(None, 0, True), ("new\n", 0o600, False), ("new\n", 0o644, True), ("old\n", 0o600, True)],
    ids=["missing", "same", "readable", "other"],
)
def test_a_given_secret_replaces_what_differs(tmp_path: Path, text: str | None, mode: int, is_changed: bool) -> None:
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)
    before = path.stat() if text is not None else None
    task = GENERATE | {"path": str(path), "content": "new\n", "length": None, "force": True}
    assert action.put(task, pretend=True) == is_changed
    assert (path.stat() if path.exists() else None) == before
    assert action.put(task, pretend=False) == is_changed
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new\n", 0o600)


def play(folder: Path, *tasks: dict[str, Any], more: tuple[str, ...] = ()) -> tuple[int, str]:
    """Exit status and output of a run that shows all that it can."""
    given = {"ansible_python_interpreter": sys.executable}
    whole = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": given, "tasks": tasks}
    (folder / "play.yml").write_text(json.dumps([whole]))
    done = ansible_playbook.run(["-i", "localhost,", "play.yml", "-vvv", "--diff", *more], cwd=folder)
    return done.returncode, done.stdout + done.stderr


def test_a_secret_is_in_no_result(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    made = {"edge_ai.cluster.secret_file": {"path": str(folder / "made"), "length": 24, "force": False}}
    given = {"edge_ai.cluster.secret_file": {"path": str(folder / "given"), "content": "{{ 's3' ~ 'cret' }}"}}
    code, output = play(tmp_path, made, given, more=("--check",))
    assert (code, list(folder.iterdir())) == (0, []), output
    assert "changed=2" in output
    code, output = play(tmp_path, made, given)
    assert code == 0 and "changed=2" in output
    assert (folder / "made").read_text().strip() not in output
    assert "s3cret" not in output and (folder / "given").read_text() == "s3cret"
    code, output = play(tmp_path, made, given)
    assert code == 0 and "changed=0" in output


def test_a_missing_directory_is_an_error_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "none" / "token"
    code, output = play(tmp_path, {"edge_ai.cluster.secret_file": {"path": str(path), "length": 8}})
    assert code == 2
    assert f"{path} cannot be written (No such file or directory): make its directory" in output


def test_what_to_write_is_given_or_generated(tmp_path: Path) -> None:
    both = {"path": str(tmp_path / "token"), "length": 8, "content": "s3cret"}
    for options in (both, {"path": both["path"]}):
        code, output = play(tmp_path, {"edge_ai.cluster.secret_file": options})
        assert code == 2 and "content" in output and "length" in output
        assert not (tmp_path / "token").exists()
