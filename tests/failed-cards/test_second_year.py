"""Certificates of k3s end after a year: the clocks of boards and control node move on, and site.yml is run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.cluster import CLUSTER, connect
from tests.support.plays import FAST, Plays, lab, unchanged
from tests.support.watch import ready_nodes, running_on, wait_until

BOARDS = ("pi-01", "pi-02", "pi-03", "pi-05")
SITE = ("site.yml", *FAST)
EXPIRED = 395
"""Days: 13 months."""


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    yield
    lab("clock", "0")


def move_clocks(days: int) -> None:
    """Have it some days later on every board."""
    lab("clock", str(days))
    wanted = datetime.now(UTC) + timedelta(days=days)
    for name in BOARDS:
        board = connect(name)
        board.check_output("systemctl restart systemd-timesyncd")
        wait_until(
            f"{name} has that time", 60,
            lambda board=board: abs(float(board.check_output("date +%s")) - wanted.timestamp()) < 3600,
        )  # fmt: skip


def ends(board: str) -> set[str]:
    """Days on which certificates of the node end, as its kubelet and its server have them on the disk."""
    found = connect(board).check_output(
        "for file in /var/lib/rancher/k3s/server/tls/client-*.crt /var/lib/rancher/k3s/agent/*kube*.crt; do "
        "case $file in *-ca.crt|*'*'*) ;; *) openssl x509 -noout -enddate -dateopt iso_8601 -in $file;; esac; done"
    )
    return set(re.findall(r"notAfter=(\S+)", found))


def started(board: str) -> str:
    """When k3s was started on a board."""
    return str(connect(board).check_output("systemctl show k3s k3s-agent --property ExecMainStartTimestampMonotonic"))


def kubeconfig() -> str:
    return (CLUSTER.path("cluster_secrets_dir") / "kubeconfig").read_text()


def days_of(dates: set[str]) -> set[int]:
    """In how many days from now, by this machine's clock."""
    return {(datetime.fromisoformat(each).replace(tzinfo=UTC) - datetime.now(UTC)).days for each in dates}


@pytest.mark.extended
def test_certificates_are_renewed_on_one_drained_board_after_another(plays: Plays) -> None:
    before, old = {board: started(board) for board in BOARDS}, kubeconfig()
    move_clocks(300)
    step = plays.run("site, 65 days before the end", *SITE, days=300)
    assert re.search(r"pi-01: certificates of k3s end on 20\S+ \(\S+ first,\s+in\s+6\d\s+days\)", step.output)
    turns = re.findall(r"Drain the node\].*?(?:changed|ok): \[(pi-\d\d) ->", step.output, re.DOTALL)
    assert (turns[0], sorted(turns)) == (BOARDS[0], list(BOARDS))
    assert [board for board in BOARDS if started(board) == before[board]] == []
    for board in BOARDS:
        assert min(days_of(ends(board))) >= 300 + 363, board
    assert kubeconfig() != old
    assert ready_nodes() == dict.fromkeys(BOARDS, True)
    unchanged(plays.run("site again", *SITE, days=300))


@pytest.mark.extended
def test_an_expired_cluster_is_restarted_and_works(plays: Plays) -> None:
    old = kubeconfig()
    move_clocks(EXPIRED)
    step = plays.run("check, expired", "playbooks/check.yml", expect=2, days=EXPIRED)
    assert re.search(r"certificate \S+ ended on 20\d\d-\d\d-\d\d: run ansible-playbook site.yml", step.output)
    step = plays.run("site, expired", *SITE, days=EXPIRED)
    assert re.search(r"pi-02: certificates of k3s expired on 20", step.output)
    assert "clock" not in step.output.partition("PLAY [Install k3s]")[2].partition("PLAY [")[0]
    for board in BOARDS:
        assert min(days_of(ends(board))) >= EXPIRED + 363, board
    assert kubeconfig() != old
    assert ready_nodes() == dict.fromkeys(BOARDS, True)
    wait_until("training has its pod", 240, lambda: running_on("pi-02"))
    unchanged(plays.run("site again", *SITE, days=EXPIRED))
