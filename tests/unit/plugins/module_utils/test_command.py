"""Commands end, and say why they did not."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils import command


def test_what_does_not_end_in_time_is_ended() -> None:
    assert command.run("sleep", "30", timeout=1) == (124, "", "no end after 1 s")


def test_half_of_an_answer_is_no_answer() -> None:
    with pytest.raises(TimeoutError, match=r"^sleep 30: no end after 1 s; see dmesg on this board"):
        command.completed("sleep", "30", timeout=1)
    assert command.completed("false").status == 1
    assert command.completed("no-such-program").status == command.MISSING


def test_a_program_that_is_not_there_is_no_exception() -> None:
    done = command.run("no-such-program")
    assert done.status == 127 and "no-such-program" in done.errors


def test_properties_of_a_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command.unit("k3s.service", "ActiveState") == {}
    (tmp_path / "systemctl").write_text("#!/bin/sh\necho ActiveState=active; echo Environment=A=1; echo\n")
    (tmp_path / "systemctl").chmod(0o755)
    assert command.unit("k3s.service", "ActiveState,Environment") == {"ActiveState": "active", "Environment": "A=1"}
