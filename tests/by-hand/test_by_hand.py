"""A cluster of one board whose card was written here and one that was flashed by hand."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes import client

from tests.support.cluster import CLUSTER, connect, kubernetes_api
from tests.support.plays import KEY, Plays, lab, recorded
from tests.support.watch import ready_nodes, wait_until

BY_HAND = "pi-02"


@pytest.fixture
def board() -> Any:
    """The board, as its user: sudo asks for a password."""
    return connect(BY_HAND, sudo=False)


@pytest.fixture(scope="module")
def plays() -> Plays:
    return recorded("by-hand")


def test_sudo_asks_for_a_password(board: Any) -> None:
    assert board.check_output("id -un") == "ada"
    assert "a password is required" in board.run("sudo -n true").stderr


def test_both_boards_are_nodes_with_their_labels() -> None:
    assert ready_nodes() == {"pi-01": True, BY_HAND: True}
    nodes = client.CoreV1Api(kubernetes_api()).list_node().items
    assert {node.metadata.name: node.metadata.labels["role"] for node in nodes} == {
        "pi-01": "prediction",
        BY_HAND: "training",
    }


def test_image_is_on_the_board() -> None:
    node = client.CoreV1Api(kubernetes_api()).read_node(BY_HAND)
    names = [name for image in node.status.images for name in image.names]
    assert any("edge-ai" in name for name in names), names


def has_its_name(board: Any) -> bool:
    names = board.check_output("grep '^127.0.1.1' /etc/hosts").split()[1:]
    return bool(board.check_output("hostname") == BY_HAND and names == [BY_HAND])


def test_host_name_is_that_of_the_inventory_after_another_boot_too(board: Any) -> None:
    assert has_its_name(board)
    booted = board.file("/proc/sys/kernel/random/boot_id").content_string
    lab("power", "off", BY_HAND)
    lab("power", "on", BY_HAND)

    def again() -> bool:
        now = connect(BY_HAND, sudo=False)
        return bool(now.run("cat /proc/sys/kernel/random/boot_id").stdout.strip() not in ("", booted.strip()))

    wait_until(f"{BY_HAND} has booted", 120, again)
    connect(BY_HAND, sudo=False).run("cloud-init status --wait")
    assert has_its_name(connect(BY_HAND, sudo=False))
    wait_until("both are ready", 180, lambda: all(ready_nodes().values()))


def test_a_password_that_is_missing_or_wrong_is_reported_before_anything_is_done(plays: Plays) -> None:
    missing = plays.run("no password", "playbooks/flash.yml", "-l", BY_HAND, "-e", "ansible_become_password=", expect=2)
    assert "sudo asks ada for a password, and none was given: run this with -K" in " ".join(missing.output.split())
    wrong = plays.run(
        "wrong password", "playbooks/flash.yml", "-l", BY_HAND, "-e", "ansible_become_password=x", expect=2
    )
    assert "sudo does not accept the password for ada" in " ".join(wrong.output.split())


def test_another_user_or_key_is_reported(plays: Plays) -> None:
    step = plays.run("another user", "playbooks/flash.yml", "-l", BY_HAND, "-e", "ansible_user=pi", expect=2)
    assert "for the user pi, it was flashed with another key or user" in " ".join(step.output.split())


def test_an_unknown_host_key_is_reported_and_not_added(plays: Plays) -> None:
    known = CLUSTER.path("cluster_secrets_dir") / "known_hosts"
    before = known.read_text()
    known.write_text("".join(line for line in before.splitlines(keepends=True) if BY_HAND not in line))
    step = plays.run(
        "unknown host key", "playbooks/flash.yml", "-l", BY_HAND, "-e", "flash_host_key_fingerprint=", expect=2
    )
    fingerprint = str(CLUSTER.var("flash_host_key_fingerprint", BY_HAND))
    assert f"-e flash_host_key_fingerprint={fingerprint}" in " ".join(step.output.split())
    assert BY_HAND not in known.read_text()
    plays.run(
        "host key that was compared", "playbooks/flash.yml", "-l", BY_HAND,
        "-e", f"flash_host_key_fingerprint={fingerprint}",
    )  # fmt: skip
    assert sorted(known.read_text().splitlines()) == sorted(before.splitlines())


def test_backup_has_the_data_of_the_board(plays: Plays) -> None:
    """It comes through an ssh and a sudo of our own."""
    connect(BY_HAND, sudo=False).check_output("test -d /srv/books")
    plays.run("backup", "playbooks/backup.yml", *KEY)
    newest = max(path for path in CLUSTER.path("cluster_backups_dir").iterdir() if path.name[0] != ".")
    assert (newest / "data.tar.gz.age").stat().st_size > 0
