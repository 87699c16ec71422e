"""A board's state from its answer over ssh; the meaning of cloud-init's exit status."""

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.flash.ssh import (
    BoardStatus,
    Login,
    advice,
    parse_status,
    query,
)
from ansible_collections.edge_ai.cluster.plugins.modules import flash_info
from ansible_collections.edge_ai.cluster.plugins.modules import flash_wait as wait

LOGIN = Login("192.0.2.1", "pi", "key", "known_hosts")
WANTED = "pi-01-0123456789ab"
META = f"instance-id: {WANTED}\nedge-ai-image: aaa\nedge-ai-user-data: bbb\n"


def status_of(
    identity: str = WANTED, result: str = '{"v1": {"errors": []}}', key: str = "0", meta: str = META
) -> BoardStatus:
    return parse_status(
        f"==> /var/lib/cloud/data/instance-id\n{identity}\n\n==> /run/cloud-init/result.json\n{result}\n\n"
        f"==> /boot/firmware/meta-data\n{meta}\n==> key\n{key}\n==> end\n"
    )


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (status_of(), "ready"),
        (status_of(result=""), "booting"),
        (status_of(result='{"v1": {"errors": ["failed: runcmd"]}}'), "booting"),
        (status_of(result="not json"), "booting"),
        (status_of(key="1"), "booting"),
        (status_of(identity="pi-01-ffffffffffff"), "other"),
        (status_of(identity="nocloud"), "other"),
        (status_of(identity=""), "other"),
        (BoardStatus(reached=False, error="192.0.2.1 port 22 is unreachable"), "down"),
        (BoardStatus(reached=True, error="pi@192.0.2.1: Permission denied (publickey)."), "refused"),
        (BoardStatus(reached=True, error="Host key verification failed."), "refused"),
        (BoardStatus(reached=True, error="System is booting up. Unprivileged users are not permitted"), "booting"),
    ],
)  # fmt: skip
def test_states(status: BoardStatus, state: str) -> None:
    assert flash_info.board_state(status, WANTED, META, False, LOGIN)[0] == state


def test_board_with_another_seed_reports_what_changed() -> None:
    status = status_of(identity="pi-01-ffffffffffff", meta=META.replace("aaa", "ccc"))
    assert flash_info.board_state(status, WANTED, META, False, LOGIN)[1].endswith("changed since: image")


def test_board_flashed_by_hand_needs_no_identity() -> None:
    assert flash_info.board_state(status_of(identity="", result=""), WANTED, META, True, LOGIN)[0] == "ready"
    assert flash_info.board_state(status_of(identity="rpi-imager-17"), WANTED, META, True, LOGIN)[0] == "ready"
    assert (
        flash_info.board_state(status_of(identity="rpi-imager-17", result=""), WANTED, META, True, LOGIN)[0]
        == "booting"
    )


def test_unreachable_board_is_not_an_error() -> None:
    assert query(Login("127.0.0.1", "pi", "key", "known_hosts", port=9), connect_timeout=1).reached is False


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", "ssh-keyscan -t ed25519 192.0.2.1"),
        ("No ED25519 host key is known for 192.0.2.1", "flashed by hand"),
        ("Permission denied (publickey).", "another key or user"),
        ("kex_exchange_identification: Connection reset", "try it: ssh -i key"),
    ],
)
def test_failed_logins_have_a_remedy(error: str, expected: str) -> None:
    assert expected in advice(error, LOGIN)


@pytest.mark.parametrize(
    ("status", "code", "errors", "warnings"),
    [
        ({"status": "done", "errors": [], "recoverable_errors": {}}, 0, 0, 0),
        ({"status": "done", "errors": [], "recoverable_errors": {"WARNING": ["cc_netplan_nm_patch"]}}, 2, 0, 1),
        ({"status": "error", "errors": ["runcmd failed"]}, 1, 1, 0),
        ({"status": "error", "errors": []}, 1, 1, 0),
        ({"status": "done", "errors": ["real"], "recoverable_errors": {}}, 2, 1, 0),
    ],
)
def test_cloud_init_fails_by_its_errors(status: dict[str, object], code: int, errors: int, warnings: int) -> None:
    found = wait.cloud_init_problems(status, code)
    assert (len(found[0]), len(found[1])) == (errors, warnings)
