"""Three servers with embedded etcd: any one may fail, all may be lost. Each test begins where the one before ended.

One alone: EDGE_INVENTORY=inventory/lab-ha EDGE_LAB_NAME=servers EDGE_LAB_SUBNET=10.82.0 pytest -s tests/three-servers
--begin=finished -k removed
"""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes import client

from tests.support import secrets
from tests.support.cluster import CLUSTER, connect, kubernetes_api
from tests.support.plays import KEY, NEXT, ON_NEXT, Plays, cards_die, lab
from tests.support.watch import Answers, core, machine_ids, ready_nodes, wait_until

SERVERS = CLUSTER.hosts("k3s_servers")
TO_A_CLUSTER = ("--tags", "flash,base,storage,cluster")
"""Stages of site.yml: what runs on a cluster is the default scenario's."""


def endpoints(server: str) -> set[str]:
    """Addresses that the Service `kubernetes` has."""
    slices = client.DiscoveryV1Api(kubernetes_api(server)).list_namespaced_endpoint_slice(
        "default", label_selector="kubernetes.io/service-name=kubernetes", _request_timeout=10
    )
    return {address for each in slices.items for endpoint in each.endpoints or [] for address in endpoint.addresses}


@pytest.fixture(scope="module")
def pods() -> Any:
    """A pod on each server, of the one image that every node has from the release."""
    labels = {"app": "pause"}
    container = {"name": "pause", "image": pause_image(), "imagePullPolicy": "IfNotPresent"}
    pod = {"tolerations": [{"operator": "Exists"}], "terminationGracePeriodSeconds": 1, "containers": [container]}
    spec = {
        "metadata": {"name": "pause", "namespace": "default"},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }
    apps = client.AppsV1Api(kubernetes_api(SERVERS[0]))
    apps.create_namespaced_daemon_set("default", spec)
    wait_until("a pod on each server", 180, lambda: len(running(SERVERS[0])) == len(SERVERS))
    yield
    client.AppsV1Api(kubernetes_api(SERVERS[0])).delete_namespaced_daemon_set("pause", "default")


def pause_image() -> str:
    images = connect(SERVERS[0]).check_output("k3s ctr -n k8s.io images ls -q").split()
    return next(name for name in images if "pause" in name and "@" not in name)


def running(server: str) -> dict[str, str]:
    """Start time of the running pod on each node."""
    found = core(server).list_namespaced_pod("default", label_selector="app=pause", _request_timeout=10).items
    return {each.spec.node_name: str(each.status.start_time) for each in found if each.status.phase == "Running"}


def test_every_server_answers_and_is_ready() -> None:
    for server in SERVERS:
        assert ready_nodes(server) == dict.fromkeys(SERVERS, True)
    assert endpoints(SERVERS[0]) == {CLUSTER.address(server) for server in SERVERS}


def test_every_server_is_a_member_of_etcd() -> None:
    for server in SERVERS:
        assert connect(server).file("/var/lib/rancher/k3s/server/db/etcd").is_directory


def test_a_snapshot_can_be_taken() -> None:
    board = connect(SERVERS[0])
    board.check_output("k3s etcd-snapshot save --name tested")
    listed = board.check_output("k3s etcd-snapshot ls")
    assert "tested" in listed


@pytest.mark.parametrize("lost", SERVERS)
def test_any_server_may_lose_its_power(pods: None, lost: str) -> None:
    others = [server for server in SERVERS if server != lost]
    before = running(others[0])
    lab("power", "off", "--hard", lost)
    try:
        for server in others:
            wait_until(
                f"{server} answers without {lost}",
                90,
                lambda server=server: core(server).list_node(_request_timeout=10),
            )
        wait_until(f"{lost} is seen as not ready", 180, lambda: not ready_nodes(others[0])[lost])
        wait_until(f"{lost} has left the endpoints", 120, lambda: CLUSTER.address(lost) not in endpoints(others[0]))
        # Writes need a majority.
        name = f"written-without-{lost}"
        core(others[1]).create_namespaced_config_map("default", {"metadata": {"name": name}}, _request_timeout=30)
        now = running(others[0])
        assert {each: now[each] for each in others} == {each: before[each] for each in others}, "pods were restarted"
    finally:
        lab("power", "on", lost)
    wait_until(
        f"{lost} answers again",
        300,
        lambda: core(lost).read_namespaced_config_map(name, "default", _request_timeout=10),
    )
    wait_until(f"all are ready after {lost} came back", 240, lambda: ready_nodes(lost) == dict.fromkeys(SERVERS, True))
    wait_until(f"{lost} has its pod", 180, lambda: lost in running(lost))


def all_serve() -> None:
    """All servers are Ready, answer, and have a copy of the datastore."""
    for server in SERVERS:
        assert ready_nodes(server) == dict.fromkeys(SERVERS, True)
        assert connect(server).file("/var/lib/rancher/k3s/server/db/etcd").is_directory
    addresses = {CLUSTER.address(server) for server in SERVERS}
    wait_until("all servers are endpoints", 120, lambda: endpoints(SERVERS[0]) == addresses)


def write(name: str) -> None:
    """An object to look for later."""
    core().create_namespaced_config_map("default", {"metadata": {"name": name}}, _request_timeout=30)


def written() -> set[str]:
    found = core().list_namespaced_config_map("default", _request_timeout=30).items
    return {each.metadata.name for each in found if each.metadata.name != "kube-root-ca.crt"}


def test_an_upgrade_goes_from_server_to_server(plays: Plays) -> None:
    lab("build", "k3s-next")
    with Answers(SERVERS) as answers:
        plays.run("upgrade", "playbooks/upgrade.yml", *ON_NEXT)
    assert answers.rounds > 20
    assert not answers.silent, "no server answered"
    assert {node.status.node_info.kubelet_version for node in core().list_node().items} == {NEXT}
    all_serve()
    assert not plays.run("upgrade again", "playbooks/upgrade.yml", *ON_NEXT).changed_hosts()


def test_first_server_joins_the_others_with_a_blank_card(plays: Plays, upgraded: None) -> None:
    before = machine_ids()
    write("before-the-card-died")
    cards_die(SERVERS[0])
    step = plays.run("first server's card", "site.yml", *TO_A_CLUSTER, *ON_NEXT)
    assert step.changed_hosts() <= {SERVERS[0], "localhost"}
    all_serve()
    assert "before-the-card-died" in written()
    after = machine_ids()
    assert after.pop(SERVERS[0]) != before.pop(SERVERS[0])
    assert after == before


def test_a_server_is_removed_and_joins_again(plays: Plays, upgraded: None) -> None:
    leaving = SERVERS[-1]
    plays.run("remove a server", "playbooks/remove-node.yml", "-l", leaving, *ON_NEXT, "-e", "k3s_remove_accept=label")
    assert ready_nodes() == dict.fromkeys(SERVERS[:-1], True)
    assert not connect(leaving).file("/var/lib/rancher/k3s").exists
    # Of two members both are needed: this one no longer counts, or nothing could be written.
    write("after-the-removal")
    plays.run("the server again", "site.yml", *TO_A_CLUSTER, *ON_NEXT)
    all_serve()


def test_tokens_are_rotated_and_every_server_starts_again(plays: Plays, upgraded: None) -> None:
    write("before-the-rotation")
    plays.run("rotation", "playbooks/rotate.yml", *ON_NEXT, "-e rotate=server-token,agent-token")
    all_serve()
    # The second start is the one that a token which is not in the datastore would prevent.
    for name in SERVERS:
        connect(name).check_output("systemctl restart k3s")
    wait_until("all servers are Ready", 120, lambda: all(ready_nodes(SERVERS[0]).values()))
    all_serve()
    assert "before-the-rotation" in written()
    assert not plays.run("site.yml after the rotation", "site.yml", *TO_A_CLUSTER, *ON_NEXT).changed_hosts()


def test_all_cards_fail_and_a_backup_is_restored(plays: Plays, upgraded: None) -> None:
    write("before-the-backup")
    plays.run("backup", "playbooks/backup.yml", *ON_NEXT, *KEY)
    kept = written()
    write("after-the-backup")
    cards_die(*SERVERS)
    restore = ("playbooks/restore.yml", "--skip-tags", "workload", *ON_NEXT, *KEY, "-e", "restore_from=latest")
    plays.run("restore", *restore)
    assert written() == kept
    all_serve()
    assert not plays.run("restore again", *restore).changed_hosts()


def test_a_backup_replaces_a_running_cluster_only_by_its_name(plays: Plays, upgraded: None) -> None:
    kept = written()
    plays.run("backup", "playbooks/backup.yml", *ON_NEXT, *KEY)
    write("after-the-second-backup")
    restore = ("playbooks/restore.yml", "--skip-tags", "workload", *ON_NEXT, *KEY, "-e", "restore_from=latest")
    assert not plays.run("restore, unnamed", *restore, expect=2).changed_hosts()
    assert "after-the-second-backup" in written()
    plays.run("restore over", *restore, "-e", f"restore_over={CLUSTER.var('cluster_name')}")
    assert written() == kept
    all_serve()


def test_no_secret_was_shown_anywhere(plays: Plays) -> None:
    """Not by any step of this chain either: each playbook's output was searched when it ended."""
    assert secrets.on_boards() == []
