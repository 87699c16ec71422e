"""Each board's base system, seen over ssh."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.cluster import IN_LAB

MARK = "/var/lib/cloud/instance/first-boot-finished"


def test_memory_cgroup_is_enabled(board: Any) -> None:
    assert "memory" in board.file("/sys/fs/cgroup/cgroup.controllers").content_string.split()


def test_kernel_line_on_the_card_is_one_line_with_the_token(board: Any) -> None:
    lines = board.file("/boot/firmware/cmdline.txt").content_string.splitlines()
    assert len(lines) == 1
    assert "cgroup_enable=memory" in lines[0].split()


def test_no_swap_is_on(board: Any) -> None:
    assert len(board.file("/proc/swaps").content_string.splitlines()) == 1  # the header


def test_clock_is_synchronised(board: Any) -> None:
    assert board.check_output("timedatectl show -p NTPSynchronized --value") == "yes"


def test_host_name_is_the_inventory_name(boards: dict[str, Any]) -> None:
    assert {name: board.check_output("hostname") for name, board in boards.items()} == {name: name for name in boards}


def test_machine_ids_differ(boards: dict[str, Any]) -> None:
    ids = {name: board.file("/etc/machine-id").content_string.strip() for name, board in boards.items()}
    assert len(set(ids.values())) == len(ids), ids


def test_root_file_system_fills_the_card(board: Any) -> None:
    assert int(board.check_output("df --output=size -BG / | tail -n 1 | tr -dc 0-9")) >= 13


@pytest.mark.skipif(not IN_LAB, reason="what a card is prepared with depends on the machine that wrote it")
@pytest.mark.parametrize(
    "path",
    [
        "/usr/local/bin/k3s",
        "/var/lib/dpkg/info/nfs-common.list",
        "/etc/sysctl.d/99-edge-ai-cluster.conf",
        "/var/lib/rancher/k3s/agent/containerd/io.containerd.metadata.v1.bolt/meta.db",
    ],
)
def test_card_had_it_when_it_was_written(board: Any, path: str) -> None:
    born, first_boot = board.check_output(f"stat --format=%W {path} {MARK}").split()
    assert int(born) < int(first_boot)


def test_cloud_init_finished(board: Any) -> None:
    if not board.exists("cloud-init"):
        pytest.skip("Raspberry Pi OS bookworm has no cloud-init")
    # "degraded done" is what stock Raspberry Pi OS says too: it lists a module that its package lacks.
    assert board.run("cloud-init status").stdout.split()[-1] == "done"


def test_private_host_key_is_not_left_on_the_boot_partition(board: Any) -> None:
    found = board.run("grep -rlE 'BEGIN [A-Z ]*PRIVATE KEY' /boot/firmware")
    assert found.stdout == ""


@pytest.mark.parametrize("key, value", [("net.ipv4.ip_forward", 1), ("net.bridge.bridge-nf-call-iptables", 1)])
def test_kernel_settings_for_pods(board: Any, key: str, value: int) -> None:
    assert board.sysctl(key) == value


def test_only_keys_open_the_door(board: Any) -> None:
    if not board.file(MARK).exists:
        pytest.skip("flashed by hand: its user and login are the operator's choice")
    effective = board.check_output("sshd -T").splitlines()
    assert "passwordauthentication no" in effective
    user = board.check_output("id --user --name 1000")
    assert board.check_output("passwd -S %s", user).split()[1] == "L"


def test_security_updates_are_installed_by_themselves_and_never_reboot(board: Any) -> None:
    lines = board.check_output("apt-config dump").splitlines()
    origins = [line.partition(" ")[2].strip('";') for line in lines if line.startswith("Unattended-Upgrade::Origins")]
    assert list(filter(None, origins)) == ["origin=Debian,codename=${distro_codename}-security,label=Debian-Security"]
    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in lines
    assert {f'APT::Periodic::{what} "1";' for what in ("Update-Package-Lists", "Unattended-Upgrade")} <= set(lines)
    for unit in ("apt-daily.timer", "apt-daily-upgrade.timer"):
        assert board.check_output("systemctl is-enabled %s", unit) == "enabled"
    # The archive that the updates come from is among the board's own.
    assert ",l=Debian-Security" in board.check_output("apt-cache policy")
