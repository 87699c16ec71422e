"""Files of the base system, and the record of what was applied."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.edge_ai.cluster.plugins.modules import raspberry_pi_files


def write(capsys: pytest.CaptureFixture[str], **arguments: object) -> list[str]:
    """Paths that the module wrote."""
    with patch_module_args(arguments), pytest.raises(SystemExit):
        raspberry_pi_files.main()
    written: list[str] = json.loads(capsys.readouterr().out)["written"]
    return written


def test_record_is_removed_when_a_file_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record, first, second = (tmp_path / name for name in ("applied", "a.conf", "b.conf"))
    record.write_text("of before\n")
    first.write_text("1\n")
    first.chmod(0o644)
    files = {str(first): "1\n", str(second): "2\n"}
    assert write(capsys, files=files, remove=str(record)) == [str(second)]
    assert not record.exists() and second.read_text() == "2\n"
    record.write_text("of now\n")
    # Nothing differs, so what was applied is still applied.
    assert write(capsys, files=files, remove=str(record)) == []
    assert record.read_text() == "of now\n"


def test_record_is_kept_in_check_mode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record, file = tmp_path / "applied", tmp_path / "a.conf"
    record.write_text("of before\n")
    arguments = {"files": {str(file): "1\n"}, "remove": str(record), "_ansible_check_mode": True}
    assert write(capsys, **arguments) == [str(file)]
    assert record.exists() and not file.exists()
