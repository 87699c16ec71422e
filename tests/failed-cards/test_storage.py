"""The NFS export is full, or is on another board from now on."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import yaml
from kubernetes import client

from tests.support.cluster import CLUSTER, connect, kubernetes_api
from tests.support.paths import ROOT
from tests.support.plays import FAST, KEY, Plays, cards_die, unchanged
from tests.support.watch import NAMESPACE, WEIGHTS, core, reads, ready_nodes, wait_until

OLD, NEW = "pi-01", "pi-02"
SITE = ("site.yml", *FAST)
MOVE = ("playbooks/move-storage.yml", *FAST)
AGAIN = ("playbooks/experiment.yml", *FAST, "-e", "notebooks_rerun=true")
FILLER = "/srv/books/filler"


def weights(board: str = OLD) -> str:
    """Digest of the weights in a board's export."""
    return str(connect(board).file(WEIGHTS).sha256sum)


def free(path: str) -> int:
    """Free bytes on the NFS server's disk."""
    return int(connect(OLD).check_output("df --block-size=1 --output=avail %s", path).split()[-1])


def fill() -> None:
    """Take all room of the export but a few blocks."""
    connect(OLD).check_output("fallocate --length %s %s", str(free("/srv/books") - (64 << 10)), FILLER)


def complete_runs() -> set[str]:
    """Archives of complete runs in the export, with their digests."""
    return set(connect(OLD).check_output("sha256sum /srv/books/runs/*/results.tar.gz").splitlines())


def fill_in_training(since: datetime) -> None:
    """Fill the export once the training runs."""

    def runs() -> bool:
        pods = core().list_namespaced_pod(NAMESPACE, label_selector="batch.kubernetes.io/job-name=training-fast").items
        return any(pod.status.phase == "Running" and pod.metadata.creation_timestamp > since for pod in pods)

    wait_until("the training runs", 120, runs)
    fill()


def test_a_full_export_fails_a_training_and_nothing_is_lost(plays: Plays) -> None:
    before, runs, room = weights(), complete_runs(), free("/")
    since = datetime.now(UTC)
    filling = threading.Thread(target=fill_in_training, args=(since,))
    filling.start()
    step = plays.run("experiment, full in the training", *AGAIN, expect=2)
    filling.join()
    assert re.search(r"The export /srv/books of pi-01 is full: \d+ of \d+ MB used", step.output), step.output[-3000:]
    assert "No space left on device" in step.output
    assert "nfs_server_size" in step.output
    assert weights() == before
    assert runs <= complete_runs()
    # The disk of the datastore has the room that it had.
    assert free("/") > room - (200 << 20) > 0
    step = plays.run("experiment, full before", *AGAIN, expect=2)
    assert "No notebook was started" in step.output
    assert not step.changed_hosts()
    # What site.yml does on a full export: enlarge it, for example.
    size = connect(OLD).file("/srv/books.img").size
    larger = ("-e", f"nfs_server_size={(size >> 20) + 512}M")
    plays.run("enlarge", *SITE, "--tags", "storage", *larger)
    assert free("/srv/books") > 400 << 20
    unchanged(plays.run("enlarge again", *SITE, "--tags", "storage", *larger))
    connect(OLD).check_output("rm %s", FILLER)
    plays.run("experiment with room", *AGAIN)
    unchanged(plays.run("site", *SITE))


def test_runs_beyond_a_number_are_deleted_oldest_first(plays: Plays) -> None:
    server = connect(OLD)
    kept = complete_runs()
    # Older ones, as notebooks may leave them: with a link to the system, and a link instead of a folder.
    first, second, link = (f"2026010{day}T000000Z-00000000" for day in (1, 2, 3))
    made = f"cd /srv/books/runs && mkdir {first} {second} && ln -s /etc {first}/etc && ln -s /etc {link}"
    server.check_output("setpriv --reuid 10001 --regid 10001 --clear-groups sh -c %s", made)
    before = server.check_output("ls -A /srv/books/runs").split()
    few = ("-e", "notebooks_keep_runs=1")
    step = plays.run("site, one run is kept", *SITE, *few)
    left = server.check_output("ls -A /srv/books/runs").split()
    assert complete_runs() <= kept and complete_runs()
    assert len(left) == 2 < len(before)
    # A link in a run's place stays, and is reported.
    assert link in left
    assert "leads over a link or a file, which is not followed" in step.output
    assert server.file("/etc/passwd").exists
    assert server.file(WEIGHTS).exists
    server.check_output("rm %s", f"/srv/books/runs/{link}")
    unchanged(plays.run("site, one run is kept, again", *SITE, *few))


@pytest.fixture
def moved() -> Iterator[str]:
    """An inventory in which the other board is the NFS server."""
    folder = ROOT / "inventory" / "lab-moved"
    folder.mkdir()
    (folder / "group_vars").symlink_to("../lab/group_vars")
    hosts = yaml.safe_load((ROOT / "inventory/lab-four/hosts.yml").read_text())
    hosts["all"]["children"]["nfs_servers"]["hosts"] = {NEW: None}
    (folder / "hosts.yml").write_text(yaml.safe_dump(hosts))
    yield str(folder)
    shutil.rmtree(folder)


def works_from(server: str, *nodes: str) -> None:
    """Return when all pods use the export of that server."""
    assert core().read_persistent_volume("nfs").spec.nfs.server == CLUSTER.address(server)
    for node in nodes:
        wait_until(f"{node} reads from {server}", 180, lambda node=node: reads(node))
        mounts = connect(node).check_output("findmnt --noheadings --types nfs4 --output SOURCE").split()
        assert set(mounts) == {f"{CLUSTER.address(server)}:/"}
    assert all(ready_nodes().values())


def test_the_nfs_server_moves_to_another_board_and_back(plays: Plays, moved: str) -> None:
    data = weights()
    client.AppsV1Api(kubernetes_api()).delete_namespaced_daemon_set("reader", NAMESPACE)
    refused = plays.run("site with another NFS server", *SITE, expect=2, inventory=moved)
    assert "The NFS server of this cluster is pi-01" in refused.output
    assert "playbooks/move-storage.yml" in refused.output
    assert not connect(NEW).file("/etc/exports.d/edge-ai-cluster.exports").exists
    plays.run("move", *MOVE, inventory=moved)
    works_from(NEW, "pi-02", "pi-03")
    assert weights(NEW) == data
    # The old data stays, and is not exported.
    assert weights(OLD) == data
    assert connect(OLD).check_output("exportfs -s") == ""
    unchanged(plays.run("move again", *MOVE, inventory=moved))
    unchanged(plays.run("site on the new server", *SITE, inventory=moved))

    # The card of a board that is the NFS server alone.
    plays.run("backup", "playbooks/backup.yml", *KEY, inventory=moved)
    cards_die(NEW)
    restore = ("playbooks/restore.yml", *FAST, *KEY, "-e", "restore_from=latest", "-e", "restore_datastore=false")
    plays.run("restore the NFS server", *restore, inventory=moved)
    works_from(NEW, "pi-02", "pi-03")
    assert weights(NEW) == data
    unchanged(plays.run("restore again", *restore, inventory=moved))

    refused = plays.run("back", *MOVE, expect=2)
    assert "pi-01:/srv/books holds" in refused.output
    works_from(NEW, "pi-02", "pi-03")
    plays.run("back over what is there", *MOVE, "-e", "move_data=over")
    works_from(OLD, "pi-02", "pi-03")
    assert weights(OLD) == data
    assert connect(OLD).check_output("ls -d /srv/books/.before-restore-*")
    unchanged(plays.run("site on the old server", *SITE))
