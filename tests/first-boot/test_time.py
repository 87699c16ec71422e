"""Boards have no clock battery: they start a year behind, get the time late or never, and site.yml completes.

The time that boards get and that of the control node are moved by a year; boards start with this machine's. k3s's
certificates are of next year by this machine's clock then, so what is asked of the cluster is asked on a board.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.card import read_boot_file, write_boot_file
from lab.settings import load
from tests.support.cluster import CLUSTER, connect
from tests.support.plays import FAST, Plays, Step, lab, recorded
from tests.support.watch import wait_until

BOARDS = ("pi-01", "pi-02", "pi-03")
LATE, ALONE = BOARDS[1:]
"""A board that gets the time 40 s after its first login, and one that knows no time server."""
BEHIND = 365
"""Days."""
SITE = ("site.yml", *FAST)
OWN_SERVER = ("-e", f'\'{{"raspberry_pi_ntp_servers": ["{load().gateway}"]}}\'')
NOT_BOOTED = ("-e", '\'{"flash_power_on_command": ["true"], "flash_ssh_timeout": 3}\'')
pytestmark = pytest.mark.extended


def card(board: str) -> Path:
    return Path(str(CLUSTER.var("flash_card", board)))


def silence(board: str, rule: str) -> None:
    """Drop what a board asks the lab's clock (`-I`), or let it through again (`-D`)."""
    asked = ["-s", CLUSTER.address(board), "-p", "udp", "--dport", "123", "-j", "DROP"]
    subprocess.run(["iptables", "-w", rule, f"EDGE-{load().name.upper()}-IN", *asked], check=True)


def answer_late() -> None:
    wait_until(f"{LATE} lets in", 900, lambda: connect(LATE).run("true").rc == 0)
    time.sleep(40)
    silence(LATE, "-D")


def behind(board: str, command: str = "date +%s") -> float:
    """Days by which a time is in the past, as a command on the board prints it; that of its clock."""
    return (time.time() - float(connect(board).check_output(command))) / 86400 + BEHIND


def is_ready(board: str) -> bool:
    ready = "k3s kubectl get node %s --output jsonpath='{.status.conditions[?(@.type==\"Ready\")].status}'"
    return bool(connect(BOARDS[0]).check_output(ready, board) == "True")


@pytest.fixture(scope="module")
def plays() -> Iterator[Plays]:
    lab("clock", str(BEHIND))
    yield recorded("first-boot-time")
    lab("clock", "0")


@pytest.fixture(scope="module")
def refused(plays: Plays) -> Step:
    """The first site.yml."""
    lab("power", "off", "--hard", *BOARDS)
    for board in BOARDS:
        card(board).unlink(missing_ok=True)
    plays.run("a card alone", "playbooks/flash.yml", "-l", ALONE, *NOT_BOOTED, expect=2, days=BEHIND)
    # The lab's launcher passes the address of its clock as this word, of which the last one counts.
    line = read_boot_file(card(ALONE), "cmdline.txt").strip()
    write_boot_file(card(ALONE), "cmdline.txt", f"{line} edge_lab.ntp=\n")
    lab("power", "on", ALONE)
    silence(LATE, "-I")
    with ThreadPoolExecutor() as pool:
        answered = pool.submit(answer_late)
        limit = ("-e", "raspberry_pi_time_sync_timeout=120")
        step = plays.run("site without a time server", *SITE, *limit, expect=2, days=BEHIND)
        answered.result()
    return step


def test_a_board_that_knows_no_time_server_is_named_with_what_to_do(refused: Step) -> None:
    text = " ".join(refused.output.split())
    assert f"The clock of {ALONE} was not synchronized within 120 s" in text
    assert f"The clock of {LATE}" not in text
    assert "set raspberry_pi_ntp_servers to a server in your network, such as its router" in text
    assert behind(ALONE) == pytest.approx(BEHIND, abs=2)


def test_an_answer_that_comes_late_is_waited_for(refused: Step) -> None:
    assert f"FAILED - RETRYING: [{LATE}]: " in refused.output
    began = "journalctl --boot --output=short-unix --no-pager | head -n 1 | cut -d ' ' -f 1"
    assert behind(LATE, began) == pytest.approx(BEHIND, abs=2)
    assert abs(behind(LATE)) < 0.001


def test_site_completes_with_a_time_server_of_ones_own(plays: Plays, refused: Step) -> None:
    plays.run("site with an own time server", *SITE, *OWN_SERVER, days=BEHIND)
    for board in BOARDS:
        assert abs(behind(board)) < 0.001, board
    plays.run("check", "playbooks/check.yml", *OWN_SERVER, days=BEHIND)
    step = plays.run("site again", *SITE, *OWN_SERVER, days=BEHIND)
    assert not step.changed_hosts(), step.changed


def test_after_a_loss_of_power_a_board_goes_on_with_the_time_that_it_wrote_down(refused: Step) -> None:
    """No time server answers it, and by this machine's clock the cluster's certificates are of next year."""
    silence(ALONE, "-I")
    try:
        lab("power", "off", "--hard", ALONE)
        wait_until(f"{ALONE} is seen as not ready", 180, lambda: not is_ready(ALONE))
        lab("power", "on", ALONE)
        # k3s waits 120 s for the time (raspberry_pi_time_wait).
        wait_until(f"{ALONE} is ready", 420, lambda: is_ready(ALONE))
        assert connect(ALONE).check_output("timedatectl show --property NTPSynchronized --value") == "no"
        assert 0 <= behind(ALONE) < 0.1
    finally:
        silence(ALONE, "-D")
