"""One or two of four boards lose their cards, and one command recovers the cluster.

    molecule test -s failed-cards

One combination alone, on a lab that is up:

    export EDGE_INVENTORY=inventory/lab-four EDGE_LAB_NAME=molecule EDGE_LAB_SUBNET=10.78.0
    pytest -s tests/failed-cards -k 'pi-01 and pi-03'
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import combinations

import pytest

from tests.support import snapshots
from tests.support.cluster import CLUSTER, connect
from tests.support.plays import FAST, KEY, Plays, cards_die, lab, unchanged
from tests.support.watch import NAMESPACE, core, ready_nodes, wait_until

SERVER, *AGENTS = BOARDS = ("pi-01", "pi-02", "pi-03", "pi-05")
SITE = ("site.yml", *FAST)
RESTORE = ("playbooks/restore.yml", *FAST, *KEY, "-e", "restore_from=latest")
LOST = [(SERVER,), *combinations(BOARDS, 2)]


def weights() -> str:
    """Digest of the weights on the NFS server."""
    return str(connect(SERVER).file("/srv/books/weights/fast/model.weights.h5").sha256sum)


def containers(*boards: str) -> dict[str, list[str]]:
    """Ids of the running containers of the workload, by board."""
    return {
        board: sorted(
            status.container_id
            for pod in core().list_namespaced_pod(NAMESPACE, field_selector=f"spec.nodeName={board}").items
            for status in pod.status.container_statuses or []
            if status.ready
        )
        for board in boards
    }


def reads_everywhere() -> bool:
    """Whether there is a ready reader on every board."""
    pods = core().list_namespaced_pod(NAMESPACE, label_selector="app=reader").items
    ready = {
        pod.spec.node_name for pod in pods for each in pod.status.container_statuses or []
        if each.ready and not pod.metadata.deletion_timestamp
    }  # fmt: skip
    return ready == set(BOARDS)


def wait_for_all(since: datetime) -> None:
    """Return when every board has pods that were started after that time, and can read the shared data."""
    wait_until("every board has its pods", 300, lambda: snapshots.works_since(since) and reads_everywhere())
    assert ready_nodes() == dict.fromkeys(BOARDS, True)


@pytest.mark.parametrize("lost", LOST, ids="+".join)
def test_one_command_recovers_from_failed_cards(plays: Plays, lost: tuple[str, ...]) -> None:
    data, survivors = weights(), [board for board in AGENTS if board not in lost]
    before = containers(*survivors)
    since = datetime.now(UTC)
    cards_die(*lost)
    command = RESTORE if SERVER in lost else SITE
    plays.run(f"{'+'.join(lost)} without cards", *command)
    if SERVER in lost:
        # The file system that the pods had mounted was on the card of the NFS server.
        wait_for_all(since)
    else:
        wait_until("every board has a reader", 300, reads_everywhere)
        assert {board: set(ids) <= set(containers(board)[board]) for board, ids in before.items()} == dict.fromkeys(
            survivors, True
        )
    assert weights() == data
    unchanged(plays.run(f"{'+'.join(lost)} again", *command))


def test_a_board_that_was_off_rejoins_by_itself(plays: Plays) -> None:
    # One that no Deployment needs: its rollout would be waited for.
    off = min(("pi-03", "pi-05"), key=lambda board: len(containers(board)[board]))
    since = datetime.now(UTC)
    lab("power", "off", "--hard", off)
    cards_die(SERVER)
    plays.run(f"restore without {off}", *RESTORE, "-l", f"'!{off}'")
    lab("power", "on", off)
    wait_for_all(since)
    unchanged(plays.run("restore again, with all boards", *RESTORE))


@pytest.mark.interrupted
def test_a_restore_that_was_killed_is_completed_by_the_next(plays: Plays) -> None:
    since = datetime.now(UTC)
    lab("power", "off", "--hard", "pi-05")
    cards_die(SERVER)
    plays.kill_in("Restore shared data", *RESTORE, after=3)
    plays.kill_in("Restore the datastore", *RESTORE, after=8)
    plays.kill_in("Install k3s", *RESTORE, after=20)
    plays.run("restore after all that", *RESTORE)
    wait_for_all(since)
    unchanged(plays.run("restore again", *RESTORE))


def test_agents_keep_their_pods_when_only_the_datastore_is_replaced(plays: Plays) -> None:
    """All but one whose node password is not that of the backup, as after a new card: it joins anew."""
    newer, *kept = ("pi-03", "pi-02", "pi-05")
    connect(newer).check_output("od -An -N16 -tx1 /dev/urandom | tr -d ' \\n' > /etc/rancher/node/password")
    before, nodes = containers(*kept), {node.metadata.name: node.metadata.uid for node in core().list_node().items}
    assert all(before.values())
    plays.run("restore over", *RESTORE, "-e", f"restore_over={CLUSTER.var('cluster_name')}")
    wait_until("every board has a reader", 180, reads_everywhere)
    assert containers(*kept) == before
    changed = {
        node.metadata.name for node in core().list_node().items if nodes[node.metadata.name] != node.metadata.uid
    }
    assert changed == {newer}
    assert ready_nodes() == dict.fromkeys(BOARDS, True)
