"""A cluster of many small boards: that it comes up and predicts everywhere, and what each board costs.

Durations, processor time and memory are in results/scale-<boards>-*.json, which bench/scale.py compares.
"""

from __future__ import annotations

import json
import re
import shutil

import pytest

from tests.support.cluster import CLUSTER, connect
from tests.support.plays import Plays, Step, recorded
from tests.support.scale import Cost
from tests.support.watch import core, ready_nodes, wait_until

BOARDS = CLUSTER.hosts("cluster")
PREDICTING = CLUSTER.hosts("prediction")
SERVER = CLUSTER.hosts("k3s_servers")[0]
DISK_GB = 20
LIMIT_S = 5400
SETTLED_S = 300


@pytest.fixture(scope="module")
def plays() -> Plays:
    return recorded(f"scale-{len(BOARDS)}")


def ask_memory(board: str) -> list[str]:
    """A command that prints /proc/meminfo of a board: by ssh of its own, for testinfra's may be in use."""
    return [
        "ssh", "-i", str(CLUSTER.var("ansible_ssh_private_key_file", board)),
        *str(CLUSTER.var("ansible_ssh_common_args", board)).split(), "-o", "BatchMode=yes", "-o", "ConnectTimeout=3",
        f"{CLUSTER.var('ansible_user', board)}@{CLUSTER.address(board)}", "cat /proc/meminfo",
    ]  # fmt: skip


def measured(plays: Plays, name: str, playbook: str, *options: str) -> Step:
    """A playbook's run, with what it cost in the record."""
    with Cost(SERVER, ask_memory(SERVER)) as cost:
        step = plays.run(name, playbook, *options, limit=LIMIT_S)
    plays.record.note(cost.figures() | {"boards": len(BOARDS)})
    return step


def probabilities() -> dict[str, list[float]]:
    """What each board has predicted for the digit that is shown, from the newest run with all of them."""
    server = connect(CLUSTER.hosts("nfs_servers")[0])
    found: dict[str, list[float]] = {}
    for path in server.check_output("ls -1tr /srv/books/runs/*/lite/prediction-*.json").splitlines():
        board = re.findall(r"prediction-(.+)\.json$", path)[0]
        found[board] = json.loads(server.file(path).content_string)["probabilities"]
    return found


def test_1_site_from_blank_cards(plays: Plays) -> None:
    measured(plays, "site", "site.yml")
    # On a busy machine a kubelet may be late for a moment.
    wait_until("all are Ready", SETTLED_S, lambda: ready_nodes() == dict.fromkeys(BOARDS, True))


def test_2_second_run_changes_nothing(plays: Plays) -> None:
    step = measured(plays, "site again", "site.yml")
    assert not step.changed_hosts(), step.changed


def test_3_every_board_predicts_the_same(plays: Plays) -> None:
    measured(plays, "predict", "tests/twenty/predict.yml")
    found = probabilities()
    assert set(found) >= set(PREDICTING)
    first = found[PREDICTING[0]]
    assert first.index(max(first)) == 0
    for board in PREDICTING:
        assert found[board] == pytest.approx(first, abs=1e-6), board


def test_4_every_board_has_its_pod_and_none_was_evicted() -> None:
    def missing() -> set[str]:
        pods = core().list_namespaced_pod("edge-ai", label_selector="app.kubernetes.io/name=status").items
        ready = {
            pod.spec.node_name for pod in pods
            if any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions or [])
        }  # fmt: skip
        return set(BOARDS) - ready

    wait_until("every board has its pod of the status page", SETTLED_S, lambda: not missing())
    pods = core().list_pod_for_all_namespaces().items
    assert [pod.metadata.name for pod in pods if pod.status.reason == "Evicted"] == []


def test_5_memory_and_disk(plays: Plays) -> None:
    """What boards have left, of what they have, and what all their cards take."""
    left = {}
    for name in BOARDS:
        said = dict(re.findall(r"^(\w+):\s+(\d+) kB", connect(name).file("/proc/meminfo").content_string, re.MULTILINE))
        left[name] = round(int(said["MemAvailable"]) / 1e3)
    cards = CLUSTER.path("lab_state") / "cards"
    taken = shutil.disk_usage(cards).used / 1e9
    plays.record.note({"available_mb": left, "cards_gb": round(taken, 1)})
    assert taken < DISK_GB
    assert min(left.values()) > 64, left
