"""A board whose first boot lost its power is ready after another boot, or a message names what to do.

molecule test -s first-boot
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from lab.card import layout
from tests.support.cluster import CLUSTER, connect
from tests.support.plays import Plays, Step, lab, recorded
from tests.support.watch import wait_until

BOARD = "pi-03"
CARD = Path(str(CLUSTER.var("flash_card", BOARD)))
FLASH = ("playbooks/flash.yml", "-l", BOARD)
NOT_BOOTED = ("-e", '\'{"flash_power_on_command": ["true"], "flash_ssh_timeout": 3}\'')
"""Options with which the card is written, and its board left off."""


@pytest.fixture(scope="module")
def plays() -> Plays:
    return recorded("first-boot")


@pytest.fixture(scope="module")
def written(plays: Plays) -> Step:
    """The run that wrote the card."""
    lab("power", "off", "--hard", BOARD)
    CARD.unlink(missing_ok=True)
    return plays.run("a card alone", *FLASH, *NOT_BOOTED, expect=2)


@pytest.fixture(scope="module")
def kept(written: Step, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the card as it was written."""
    copy = tmp_path_factory.mktemp("card") / CARD.name
    subprocess.run(["cp", "--sparse=always", CARD, copy], check=True)
    return copy


@pytest.fixture
def fresh(kept: Path) -> None:
    """The board is off, with the card as it was written."""
    lab("power", "off", "--hard", BOARD)
    new = CARD.with_name(f".{CARD.name}.new")
    subprocess.run(["cp", "--sparse=always", kept, new], check=True)
    shutil.copystat(CARD, new)
    shutil.chown(new, CARD.stat().st_uid, CARD.stat().st_gid)
    new.replace(CARD)


def boot_partition() -> bytes:
    """All bytes of it, and so also what was deleted there."""
    place = layout(CARD)
    with CARD.open("rb") as card:
        card.seek(place.boot_start)
        return card.read(place.root_start - place.boot_start)


def check_board() -> None:
    """The board is what the first boot must make of it."""
    assert b"PRIVATE KEY" not in boot_partition()
    # ssh may still hold a connection to the board as it was before the power was lost.
    wait_until("the board lets in", 60, lambda: connect(BOARD).run("true").rc == 0)
    board = connect(BOARD)
    assert board.check_output("hostname") == BOARD
    assert int(board.check_output("df --block-size=1G --output=size / | tail -1")) >= 15
    assert board.service("ssh").is_enabled
    assert board.check_output("getent passwd pi | cut -d: -f7") == "/bin/bash"
    assert board.check_output("timedatectl show -p Timezone --value") == CLUSTER.var("flash_timezone", BOARD)
    assert len(board.check_output("cat /etc/machine-id")) == 32


def test_a_board_that_does_not_start_is_reported_with_what_to_do(written: Step) -> None:
    text = " ".join(written.output.split())
    assert "no ssh login as pi within 3 s" in text
    assert f"ansible-playbook playbooks/flash.yml -l {BOARD} -e flash_reflash={BOARD}" in text


@pytest.fixture(scope="module")
def duration(kept: Path) -> float:
    """Seconds from power to ssh in a first boot that nothing disturbs."""
    lab("power", "off", "--hard", BOARD)
    lab("power", "on", BOARD)
    begun = time.monotonic()
    wait_until("the board lets in", 300, lambda: connect(BOARD).run("true").rc == 0)
    return time.monotonic() - begun


@pytest.mark.parametrize("tenth", range(1, 11))
def test_power_lost_in_the_first_boot(plays: Plays, duration: float, fresh: None, tenth: int) -> None:
    lab("power", "on", BOARD)
    time.sleep(duration * tenth / 10)
    lab("power", "off", "--hard", BOARD)
    lab("power", "on", BOARD)
    plays.run(f"power lost after {duration * tenth / 10:.1f} s", *FLASH)
    check_board()
    step = plays.run("again", *FLASH)
    assert not step.changed_hosts(), step.changed
