"""What a board reports of itself."""

from pathlib import Path

from ansible_collections.edge_ai.cluster.plugins.modules import raspberry_pi_probe as probe


def test_a_watchdog_that_keeps_its_own_time_is_recognised(tmp_path: Path) -> None:
    adjustable = probe.watchdog_adjustable
    assert adjustable(tmp_path / "none") is False
    (tmp_path / "options").write_text("0x8180\n")
    assert adjustable(tmp_path) is True
    (tmp_path / "options").write_text("0x8100\n")
    assert adjustable(tmp_path) is False
    (tmp_path / "options").unlink()
    assert adjustable(tmp_path) is True


def test_this_machine_can_be_looked_at() -> None:
    assert probe.hardware()["memory_mb"] > 0
    assert probe.base_system()["boot_id"]
    assert probe.differing_sysctl({"no.such.key": 1}) == {}
    assert probe.module_states(["no_such_module"]) == {"no_such_module": "absent"}
