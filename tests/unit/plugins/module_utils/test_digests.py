"""Digests are read again when, and only when, a file was written."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils import digests


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose content was read."""
    found: list[Path] = []

    def sha256_of(path: Path) -> str:
        found.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(digests, "sha256_of", sha256_of)
    monkeypatch.setattr(digests, "SETTLED_S", -1)
    return found


def of(record: Path, path: Path) -> str | None:
    """The digest as one run of the module has it."""
    run = digests.Digests(record)
    found = run.of(path)
    run.keep()
    return found


def test_a_file_is_read_once_until_it_is_written(tmp_path: Path, reads: list[Path]) -> None:
    record, path = tmp_path / "record.json", tmp_path / "k3s"
    path.write_bytes(b"one")
    first = of(record, path)
    assert first == of(record, path) == hashlib.sha256(b"one").hexdigest()
    assert reads == [path]
    assert record.stat().st_mode & 0o777 == 0o600

    # The same size, and times that are set back.
    times = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert of(record, path) == hashlib.sha256(b"two").hexdigest()
    # Another file of that name.
    other = tmp_path / "new"
    other.write_bytes(b"six")
    other.rename(path)
    assert of(record, path) == hashlib.sha256(b"six").hexdigest()
    path.unlink()
    assert of(record, path) is None
    assert json.loads(record.read_text()) == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"PATH": 1}', '{"PATH": [1, 2]}', '{"PATH": [[], null]}'])
def test_a_damaged_record_is_written_anew(tmp_path: Path, reads: list[Path], text: str) -> None:
    record, path = tmp_path / "record.json", tmp_path / "k3s"
    path.write_bytes(b"one")
    record.write_text(text.replace("PATH", str(path)))
    assert of(record, path) == of(record, path) == hashlib.sha256(b"one").hexdigest()
    assert reads == [path]


def test_what_was_written_this_moment_is_read_again(
    tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "SETTLED_S", 60)
    record, path = tmp_path / "record.json", tmp_path / "k3s"
    path.write_bytes(b"one")
    assert of(record, path) == of(record, path)
    assert reads == [path, path]


def test_a_board_without_k3s_has_no_record(tmp_path: Path, reads: list[Path]) -> None:
    path = tmp_path / "k3s"
    path.write_bytes(b"one")
    assert of(tmp_path / "data/record.json", path) == hashlib.sha256(b"one").hexdigest()
    assert reads == [path]
    assert not (tmp_path / "data").exists()
