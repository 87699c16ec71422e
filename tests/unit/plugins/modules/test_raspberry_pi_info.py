"""Information that a board reports."""

import os
from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils import command
from ansible_collections.edge_ai.cluster.plugins.modules import raspberry_pi_info


def test_watchdog_with_a_fixed_timeout_is_detected(tmp_path: Path) -> None:
    adjustable = raspberry_pi_info.watchdog_adjustable
    assert adjustable(tmp_path / "none") is False
    (tmp_path / "options").write_text("0x8180\n")
    assert adjustable(tmp_path) is True
    (tmp_path / "options").write_text("0x8100\n")
    assert adjustable(tmp_path) is False
    (tmp_path / "options").unlink()
    assert adjustable(tmp_path) is True


def test_this_machine_can_be_inspected() -> None:
    assert raspberry_pi_info.hardware()["memory_mb"] > 0
    assert raspberry_pi_info.base_system()["boot_id"]
    assert raspberry_pi_info.module_states(["no_such_module"]) == {"no_such_module": "absent"}


def test_packages_that_dpkg_does_not_list_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "dpkg-query").write_text("#!/bin/sh\necho curl installed\necho jq config-files\nexit 1\n")
    (tmp_path / "dpkg-query").chmod(0o755)
    assert raspberry_pi_info.missing_packages(["curl", "jq", "nfs-common"]) == ["jq", "nfs-common"]


def test_packages_are_not_missing_where_dpkg_does_not_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "run", lambda *_, **__: command.Done(command.LATE, "", "no end after 300 s"))
    with pytest.raises(TimeoutError, match=r"^dpkg-query --show: no end after 300 s"):
        raspberry_pi_info.missing_packages(["curl"])


def test_names_of_the_board_are_those_of_its_own_address() -> None:
    hosts = "127.0.0.1 localhost\n# 127.0.1.1 old\n127.0.1.1\tpi-03 pi-03.local # mine\n127.0.1.10 other\n"
    assert raspberry_pi_info.own_names(hosts) == ["pi-03", "pi-03.local"]
    assert raspberry_pi_info.own_names("") == []
