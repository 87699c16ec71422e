"""A cluster's whole life as one chain: each step begins with what the one before it left.

    molecule test -s lifecycle

The lab is up and empty when it begins, or has the finished cluster of the default scenario (`--begin=finished`), as in
`make test`, which leaves out the steps marked `interrupted` and `extended`. One step alone:

    EDGE_LAB_NAME=molecule EDGE_LAB_SUBNET=10.78.0 pytest -s tests/lifecycle --begin=finished -k test_10
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.backup import seal
from jsonschema import validate
from kubernetes import client
from kubernetes.stream import stream

from tests.support import secrets as cluster_secrets
from tests.support.cluster import Cluster, connect
from tests.support.paths import ROOT
from tests.support.plays import INVENTORY, KEY, KEY_FILE, NEXT, ON_NEXT, Plays, cards_die, lab, unchanged
from tests.support.watch import NAMESPACE, Requests, core, machine_ids, ready_nodes, running_on, versions, wait_until

CHECK = ("--check", "--diff")
LITE = ("-e", '\'{"notebooks_profiles": ["fast", "lite"], "manifests_overlay": "lite"}\'')
FIRST = "v1.36.3+lab1"
SITE_STAGES = (
    # Play of site.yml, and how many seconds into it the control process is killed.
    ("Flash cards and wait for boards", 6),
    ("Prepare the base system", 12),
    ("Export shared storage", 6),
    ("Install k3s", 25),
    ("Label the nodes", 2),
    ("Distribute the container image", 20),
    ("Apply manifests", 5),
    ("Run notebooks", 25),
)
JOIN_STAGES = (
    # The same of add-node.yml.
    ("Select boards to join", 1),
    ("Flash cards and wait for boards", 6),
    ("Prepare the base system", 12),
    ("Add boards to the NFS export", 1),
    ("Install k3s", 20),
    ("Label the nodes", 1),
    ("Distribute the container image", 15),
    ("Run the prediction on new boards", 10),
)


def records(cluster: Cluster) -> list[dict[str, Any]]:
    """The timings of the latest run, validated by their schema."""
    found: list[dict[str, Any]] = json.loads((cluster.path("cluster_results_dir") / "latest/timings.json").read_text())
    validate(found, json.loads((ROOT / "notebooks/timings.schema.json").read_text()))
    return found


def weights(cluster: Cluster) -> str:
    """Digest of the newest weights on the NFS server."""
    server = cluster.hosts("nfs_servers")[0]
    return str(connect(server).file("/srv/books/weights/fast/model.weights.h5").sha256sum)


def exported_to(cluster: Cluster, name: str) -> bool:
    """Whether the NFS server exports the shared data to a board."""
    exports = str(connect(cluster.hosts("nfs_servers")[0]).check_output("exportfs -s"))
    return f" {cluster.address(name)}(" in exports.replace("\t", " ")


def all_ready(*names: str) -> bool:
    return ready_nodes() == dict.fromkeys(names, True)


@contextmanager
def guarded(node: str) -> Iterator[None]:
    """A pod on a node which a disruption budget does not let go, while in this context."""
    name, labels = "guarded", {"app": "guarded"}
    images = connect(node).check_output("k3s ctr -n k8s.io images ls -q").split()
    image = next(each for each in images if "pause" in each and "@" not in each)
    # Preferred: once the budget is gone it may go elsewhere.
    wish = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    near = [{"weight": 100, "preference": wish}]
    pod = {
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": near}},
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "pause", "image": image, "imagePullPolicy": "IfNotPresent"}],
    }
    apps, policy = client.AppsV1Api(core().api_client), client.PolicyV1Api(core().api_client)
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    apps.create_namespaced_deployment("default", {"metadata": {"name": name}, "spec": spec})
    budget = {"minAvailable": 1, "selector": {"matchLabels": labels}}
    policy.create_namespaced_pod_disruption_budget("default", {"metadata": {"name": name}, "spec": budget})

    def budget_holds() -> bool:
        return bool(policy.read_namespaced_pod_disruption_budget(name, "default").status.current_healthy)

    try:
        wait_until(f"the budget of a pod on {node} holds", 120, budget_holds)
        yield
    finally:
        policy.delete_namespaced_pod_disruption_budget(name, "default")
        apps.delete_namespaced_deployment(name, "default")


def newest_backup(cluster: Cluster) -> Path:
    return max(cluster.path("cluster_backups_dir").glob("2*"))


@pytest.mark.interrupted
@pytest.mark.parametrize(("stage", "seconds"), SITE_STAGES)
def test_01_site_is_killed_in_every_stage(plays: Plays, stage: str, seconds: float) -> None:
    plays.kill_in(stage, "site.yml", after=seconds)


@pytest.mark.extended
def test_02_site_completes_after_all_that(plays: Plays, cluster: Cluster) -> None:
    plays.run("site", "site.yml")
    assert all_ready("pi-01", "pi-02", "pi-03")
    assert exported_to(cluster, "pi-03")
    assert not exported_to(cluster, "pi-05")
    assert {(each["notebook"], each["host"]) for each in records(cluster)} == {
        ("training", "pi-02"),
        ("prediction", "pi-03"),
    }


@pytest.mark.parametrize(
    "options",
    [
        # The scenario default makes this one.
        pytest.param((), id="again", marks=pytest.mark.extended),
        pytest.param(CHECK, id="check"),
        pytest.param(("-l", "pi-03"), id="limit", marks=pytest.mark.extended),
        pytest.param(("--tags", "labels,manifests"), id="tags", marks=pytest.mark.extended),
    ],
)
def test_03_site_changes_nothing_on_a_finished_cluster(plays: Plays, options: tuple[str, ...]) -> None:
    unchanged(plays.run(" ".join(["site again", *options]), "site.yml", *options))


def test_03_check_says_that_all_is_well(plays: Plays) -> None:
    step = plays.run("check", "playbooks/check.yml")
    unchanged(step)
    assert "is well: 3 Nodes are Ready" in step.output


@pytest.mark.extended
def test_03_boards_are_measured_in_a_report_to_share(plays: Plays, cluster: Cluster) -> None:
    plays.run("hardware check", "playbooks/hardware-check.yml", "-e", "hardware_check_run_tests=false")
    text = (cluster.path("cluster_results_dir") / "hardware-check/report.json").read_text()
    report = json.loads(text)
    assert list(report["boards"]) == cluster.hosts("cluster")
    assert report["cluster"] == []
    for name, rows in report["boards"].items():
        found = {row["what"]: row for row in rows}
        for what in ("model", "system", "cgroup v2 controllers", "swap", "clock", "cloud-init"):
            assert found[what]["good"] is True, (name, found[what])
        for what in ("card: write", "card: read", "card: small synced writes", "k3s: from start to ready"):
            assert float(found[what]["value"].split()[0]) > 0, (name, found[what])
        assert found["k3s: import of images"]["value"] != "unknown", name
        assert cluster.address(name) not in text
        assert connect(name).run("ls -d /var/tmp/hardware-check-*").rc != 0


@pytest.mark.extended
def test_03_a_second_run_says_who_has_the_cluster_and_ends(plays: Plays, cluster: Cluster, tmp_path: Path) -> None:
    # As on another control node, of which only the board knows.
    other = shutil.copytree(cluster.path("cluster_secrets_dir"), tmp_path / "secrets")

    def is_locked() -> bool:
        return bool(connect("pi-01").run("flock --nonblock /run/lock/edge-ai-cluster true").rc)

    first = threading.Thread(target=plays.kill_in, args=("Prepare the base system", "site.yml"), kwargs={"after": 40})
    first.start()
    wait_until("the board is locked", 60, is_locked)
    for name, options in (("here", ()), ("on another control node", ("-e", f"cluster_secrets_dir={other}"))):
        step = plays.run(f"second run {name}", "playbooks/backup.yml", *options, expect=1)
        assert re.search(r"is in use: \S+@\S+ runs site.yml since", step.output)
        assert not step.changed_hosts()
    first.join()
    unchanged(plays.run("site after a killed run", "site.yml"))


@pytest.mark.extended
def test_03_four_pods_on_one_board_predict_without_tensorflow(plays: Plays, cluster: Cluster) -> None:
    stages = ("--tags", "workload,experiment")
    plays.run("lite", "site.yml", *LITE, *stages)
    latest = cluster.path("cluster_results_dir") / "latest"
    fast, lite = (json.loads((latest / profile / "prediction.json").read_text()) for profile in ("fast", "lite"))
    assert (lite["digit"], lite["label"]) == (0, 0)
    assert lite["probabilities"] == pytest.approx(fast["probabilities"], abs=1e-4)
    predicted = {each["profile"]: each for each in records(cluster) if each["notebook"] == "prediction"}
    assert predicted["lite"]["test_accuracy"] == predicted["fast"]["test_accuracy"]
    assert predicted["lite"]["host"] == predicted["fast"]["host"] == "pi-03"

    pods = core().list_namespaced_pod(NAMESPACE, label_selector="app=prediction-lite").items
    assert [pod.spec.node_name for pod in pods] == 4 * ["pi-03"]
    url = f"http://{cluster.address('pi-01')}:30001/images/10"
    answers = []
    for _ in range(60):
        with urlopen(url, timeout=30) as response:
            answers.append(json.load(response))
    assert {answer["pod"] for answer in answers} == {pod.metadata.name for pod in pods}
    for answer in answers:
        assert (answer["node"], answer["digit"], answer["weights_sha256"]) == (
            "pi-03",
            0,
            predicted["lite"]["weights_sha256"],
        )
        assert answer["probabilities"] == pytest.approx(fast["probabilities"], abs=1e-4)
    for pod in pods:
        command = ["grep", "VmHWM", "/proc/1/status"]
        exec_in = core().connect_get_namespaced_pod_exec
        shown = stream(exec_in, pod.metadata.name, NAMESPACE, command=command, stdout=True)
        assert int(shown.split()[1]) < 150_000, shown
    unchanged(plays.run("lite again", "site.yml", *LITE, *stages))
    # The steps that follow have the Jupyter of both roles, and results without lite.
    plays.run("without lite", "site.yml", *stages)
    assert {each["profile"] for each in records(cluster)} == {"thesis", "fast"}


@pytest.mark.interrupted
@pytest.mark.parametrize(("stage", "seconds"), JOIN_STAGES)
def test_04_add_node_is_killed_in_every_stage(plays: Plays, stage: str, seconds: float) -> None:
    plays.kill_in(stage, "add-node.yml", "-l", "pi-05", after=seconds)


def test_05_a_board_joins_and_computes(plays: Plays, cluster: Cluster) -> None:
    before = records(cluster)
    # A notebook may put it there: no Job runs it in place of the standard library's.
    server, program = connect(cluster.hosts("nfs_servers")[0]), "/srv/books/notebooks/argparse.py"
    server.check_output(f"echo 'raise SystemExit(\"a program of the export was run\")' > {program}")
    step = plays.run("add-node", "add-node.yml", "-l", "pi-05")
    server.check_output(f"rm {program}")
    assert step.changed_hosts() <= {"pi-05", "localhost"}
    assert all_ready("pi-01", "pi-02", "pi-03", "pi-05")
    after = records(cluster)
    assert [each for each in after if each["host"] != "pi-05"] == before
    (new,) = [each for each in after if each["host"] == "pi-05"]
    assert (new["notebook"], new["profile"]) == ("prediction", "fast")
    (same,) = [each for each in before if (each["notebook"], each["profile"]) == ("prediction", "fast")]
    assert new["test_accuracy"] == pytest.approx(same["test_accuracy"])
    # It is still in `spare`: the next run of the storage stage must not remove it from the export.
    unchanged(plays.run("storage after add-node", "site.yml", "--tags", "storage"))
    assert exported_to(cluster, "pi-05")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("-l", "pi-05"), id="again"),
        pytest.param((), id="no limit", marks=pytest.mark.extended),
        pytest.param(CHECK, id="check", marks=pytest.mark.extended),
    ],
)
def test_06_add_node_changes_nothing_on_a_complete_cluster(
    plays: Plays, options: tuple[str, ...], joined: None
) -> None:
    unchanged(plays.run(" ".join(["add-node again", *options]), "add-node.yml", *options))


def test_07_versions_are_refused_before_anything_is_touched(plays: Plays) -> None:
    # Without the request whether the mirror has them: what is checked here is the version.
    blind = ("-e", '\'{"preflight_check_urls": false, "preflight_k3s_minors": ["1.35", "1.36", "1.38"]}\'')
    for wrong, word in (("v1.35.1+lab1", "downgrade|older"), ("v1.38.0+lab1", "skip"), ("latest", "not a k3s release")):
        step = plays.run(f"upgrade to {wrong}", "playbooks/upgrade.yml", "-e", f"k3s_version={wrong}", *blind, expect=2)
        assert not step.changed_hosts()
        assert re.search(word, step.output), step.output[-3000:]


def test_08_an_upgrade_fails_no_request(plays: Plays, cluster: Cluster, joined: None) -> None:
    lab("build", "k3s-next")
    plays.run("two replicas", "playbooks/stages/workload.yml", "-e", "manifests_overlay=combined")
    service = core().read_namespaced_service("tensorflow-jupyter-rpi", NAMESPACE)
    url = f"http://{service.spec.cluster_ip}:8888/login"
    # A key that no agent knows: k3s fails on it when it is restarted.
    broken = "/etc/rancher/k3s/config.yaml.d/broken.yaml"
    connect("pi-02").check_output(f"mkdir -p {Path(broken).parent}; echo 'no-such-key: true' > {broken}")
    with Requests(url, ["pi-01", "pi-02"]) as requests:
        stopped = plays.run("upgrade, pi-02 broken", "playbooks/upgrade.yml", *ON_NEXT, expect=2)
        assert "stopped at pi-02" in stopped.output
        assert versions() == {"pi-01": NEXT, "pi-02": FIRST, "pi-03": FIRST, "pi-05": FIRST}
        connect("pi-02").check_output(f"rm {broken}")
        plays.run("upgrade", "playbooks/upgrade.yml", *ON_NEXT)
    for name, answers in requests.answers.items():
        assert set(answers) == {"200"}, (name, answers)
        assert answers["200"] > 50
    assert len(requests.answers) == 2
    assert set(versions().values()) == {NEXT}
    assert not any(node.spec.unschedulable for node in core().list_node().items)


@pytest.mark.extended
@pytest.mark.parametrize("options", [(), CHECK], ids=["again", "check"])
def test_08_an_upgrade_changes_nothing_on_an_upgraded_cluster(
    plays: Plays, options: tuple[str, ...], upgraded: None
) -> None:
    unchanged(plays.run(" ".join(["upgrade again", *options]), "playbooks/upgrade.yml", *ON_NEXT, *options))


@pytest.mark.extended
def test_08_the_overlay_of_before_is_applied(plays: Plays, upgraded: None) -> None:
    plays.run("one each", "playbooks/stages/workload.yml", *ON_NEXT)
    wait_until("training has its pod", 180, lambda: running_on("pi-02"))
    # Two boards may predict.
    wait_until("prediction has its pod", 180, lambda: running_on("pi-03") or running_on("pi-05"))


@pytest.mark.extended
def test_09_a_board_that_loses_power_restarts_with_its_pods(plays: Plays, cluster: Cluster) -> None:
    lab("power", "off", "--hard", "pi-02")
    wait_until("pi-02 is seen as not ready", 180, lambda: not ready_nodes()["pi-02"])
    step = plays.run("check without pi-02", "playbooks/check.yml", expect=2)
    assert f"pi-02: does not answer at {cluster.address('pi-02')}" in step.output
    assert "Node pi-02 is not Ready" in step.output
    unchanged(step)
    lab("power", "on", "pi-02")
    wait_until("pi-02 is ready", 240, lambda: ready_nodes()["pi-02"])
    wait_until("pi-02 has its pod", 240, lambda: running_on("pi-02"))
    # k3s does not start before the clock is right.
    shown = "systemctl show %s --property=%s --value"
    right = int(connect("pi-02").check_output(shown, "systemd-time-wait-sync", "ActiveEnterTimestampMonotonic"))
    assert 0 < right <= int(connect("pi-02").check_output(shown, "k3s-agent", "InactiveExitTimestampMonotonic"))


@pytest.mark.extended
def test_09_a_board_without_a_time_server_runs_its_pods_and_is_named(plays: Plays) -> None:
    """The power is back before the internet is."""
    silent = "/etc/systemd/timesyncd.conf.d/99-silent.conf"
    board = connect("pi-02")
    board.check_output("printf '[Time]\nNTP=\nNTP=192.0.2.1\n' > %s && sync", silent)
    lab("power", "off", "--hard", "pi-02")
    wait_until("pi-02 is seen as not ready", 180, lambda: not ready_nodes()["pi-02"])
    lab("power", "on", "pi-02")
    # raspberry_pi_time_wait is 120 s.
    wait_until("pi-02 is ready", 360, lambda: ready_nodes()["pi-02"])
    wait_until("pi-02 has its pod", 240, lambda: running_on("pi-02"))
    step = plays.run("check without time", "playbooks/check.yml", expect=2)
    assert "pi-02: unit systemd-time-wait-sync.service has failed" in step.output
    assert "pi-02: its clock is not synchronized" in step.output
    board = connect("pi-02")
    board.check_output("rm %s && systemctl restart systemd-timesyncd", silent)
    board.check_output("timeout 60 systemctl restart systemd-time-wait-sync")
    plays.run("check with time", "playbooks/check.yml")


@pytest.mark.extended
def test_09_a_cluster_that_was_stopped_runs_again_with_the_power_back(plays: Plays) -> None:
    names = sorted(ready_nodes())
    refused = plays.run("stop the server alone", "playbooks/stop.yml", "-l", "pi-01", expect=2)
    assert "would run on without pi-01" in refused.output
    plays.run("stop --check", "playbooks/stop.yml", *CHECK)
    assert all_ready(*names)

    def are_off() -> bool:
        boards = json.loads(lab("status", "--json"))["boards"]
        return {each["power"] for each in boards if each["name"] in names} == {"off"}

    plays.run("stop", "playbooks/stop.yml")
    wait_until("all boards are off", 60, are_off)
    lab("power", "on", *names)
    wait_until("all nodes are ready", 300, lambda: all_ready(*names))
    wait_until("training has its pod", 240, lambda: running_on("pi-02"))


@pytest.mark.extended
def test_10_boards_whose_cards_failed_join_again_under_their_names(
    plays: Plays, cluster: Cluster, joined: None, upgraded: None
) -> None:
    before, replaced = machine_ids(), ("pi-03", "pi-05")
    cards_die(*replaced)
    # With the OS image alone on their cards, as from a control node that cannot prepare them.
    unprepared = ("-e", shlex.quote('{"card_image_parts": []}'))
    step = plays.run("re-flash two", "add-node.yml", "-l", ",".join(replaced), *ON_NEXT, *unprepared)
    assert step.changed_hosts() <= {*replaced, "localhost"}
    after = machine_ids()
    for name in replaced:
        assert after.pop(name) != before.pop(name)
    assert after == before
    assert all_ready("pi-01", "pi-02", "pi-03", "pi-05")
    # One of them: both have the label.
    wait_until("prediction has its pod", 180, lambda: running_on("pi-03") or running_on("pi-05"))
    assert set(replaced) <= {each["host"] for each in records(cluster) if each["notebook"] == "prediction"}


def test_11_what_the_cluster_cannot_lose_is_not_removed(plays: Plays, joined: None, upgraded: None) -> None:
    step = plays.run("remove the server", "playbooks/remove-node.yml", "-l", "pi-01", *ON_NEXT, expect=2)
    assert not step.changed_hosts()
    assert all_ready("pi-01", "pi-02", "pi-03", "pi-05")


@pytest.mark.extended
def test_12_a_budget_holds_a_removal_up(plays: Plays, joined: None, upgraded: None) -> None:
    with guarded("pi-05"):
        step = plays.run(
            "remove-node, guarded", "playbooks/remove-node.yml", "-l", "pi-05", *ON_NEXT, "-e", "k3s_drain_timeout=20",
            expect=2,
        )  # fmt: skip
    assert "default/guarded" in step.output
    assert "disruption budget" in step.output
    assert all_ready("pi-01", "pi-02", "pi-03", "pi-05")


def test_12_a_node_is_removed(plays: Plays, cluster: Cluster, joined: None, upgraded: None) -> None:
    remove = ("playbooks/remove-node.yml", "-l", "pi-05", *ON_NEXT)
    plays.run("remove-node --check", *remove, *CHECK)
    assert all_ready("pi-01", "pi-02", "pi-03", "pi-05")
    plays.run("remove-node", *remove)
    assert all_ready("pi-01", "pi-02", "pi-03")
    board = connect("pi-05")
    assert not board.file("/usr/local/bin/k3s").exists
    assert not board.file("/var/lib/rancher/k3s").exists
    secrets = [each.metadata.name for each in core().list_namespaced_secret("kube-system").items]
    assert "pi-05.node-password.k3s" not in secrets
    assert exported_to(cluster, "pi-02")
    assert not exported_to(cluster, "pi-05")
    unchanged(plays.run("remove-node again", *remove))


def system_pods() -> dict[str, int]:
    """Pods of kube-system by uid, with the number of their containers' restarts."""
    pods = core().list_namespaced_pod("kube-system").items
    return {pod.metadata.uid: sum(one.restart_count for one in pod.status.container_statuses or []) for pod in pods}


@pytest.mark.extended
def test_12_secrets_are_rotated_one_board_at_a_time(plays: Plays, cluster: Cluster, upgraded: None) -> None:
    """After a card was lost: pods run on, old secrets open nothing, the next run changes nothing."""
    secrets = cluster.path("cluster_secrets_dir")
    names = ("k3s-token", "k3s-agent-token", "k3s-node-token", "jupyter-password", "id_ed25519", "kubeconfig")
    before = {name: (secrets / name).read_bytes() for name in names}
    refused = plays.run(
        "rotation with a limit", "playbooks/rotate.yml", *ON_NEXT, "-e rotate=all", "-l pi-01,localhost", expect=2
    )
    assert "this playbook changes the cluster as a whole" in refused.output
    assert "write -e rotate=all" in plays.run("rotation of nothing", "playbooks/rotate.yml", *ON_NEXT, expect=2).output
    assert {name: (secrets / name).read_bytes() for name in names} == before
    pods = system_pods()
    plays.run("every secret is rotated", "playbooks/rotate.yml", *ON_NEXT, "-e rotate=all")
    assert [name for name in names if (secrets / name).read_bytes() == before[name]] == []
    assert not list(secrets.glob("*.new*")) and not list(secrets.glob("*.old"))
    assert all(ready_nodes().values())
    assert system_pods() == pods
    unchanged(plays.run("site.yml after a rotation", "site.yml", *ON_NEXT))
    # A server's second start is the one that a token which is not in the datastore would prevent.
    for name in cluster.hosts("k3s_servers"):
        connect(name).check_output("systemctl restart k3s")
    wait_until("all nodes are Ready after a restart of the server", 180, lambda: all(ready_nodes().values()))
    old = secrets / "old-key"
    old.write_bytes(before["id_ed25519"])
    old.chmod(0o600)
    known = f"UserKnownHostsFile={secrets / 'known_hosts'}"
    login = ["ssh", "-o", "BatchMode=yes", "-o", "ControlPath=none", "-o", "IdentitiesOnly=yes", "-o", known]
    # In the chain pi-05 is on, with a card from before, and spare.
    for name in ("pi-01", *(["pi-05"] if re.search(r"pi-05 +on ", lab("status")) else [])):
        address = cluster.address(name)
        answer = subprocess.run([*login, "-i", str(old), f"pi@{address}", "true"], capture_output=True, timeout=60)
        assert answer.returncode == 255 and b"Permission denied" in answer.stderr, name
        subprocess.run([*login, "-i", str(secrets / "id_ed25519"), f"pi@{address}", "true"], check=True, timeout=60)
    old.unlink()


def test_13_a_backup_is_made(plays: Plays, cluster: Cluster, upgraded: None, tmp_path: Path) -> None:
    backup = ("playbooks/backup.yml", *ON_NEXT)
    unchanged(plays.run("backup --check", *backup, *CHECK))
    # Without a terminal to show the new key on, and without a file for it. ansible-runner has a terminal of its own.
    command = ["ansible-playbook", "-i", INVENTORY, *backup]
    refused = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    assert refused.returncode == 2
    assert "there is no terminal to show the new key of backups on" in refused.stdout
    second = tmp_path / "disk"
    second.mkdir()
    plays.run("backup", *backup, *KEY, "-e", f"cluster_backup_copy_to={second}")
    assert KEY_FILE.stat().st_mode & 0o777 == 0o600
    made = newest_backup(cluster)
    assert made.stat().st_mode & 0o777 == 0o700
    assert {each.stat().st_mode & 0o777 for each in made.iterdir()} == {0o600}
    copied = second / cluster.var("cluster_name") / made.name
    assert {each.name: each.read_bytes() for each in copied.iterdir()} == {
        each.name: each.read_bytes() for each in made.iterdir()
    }


@pytest.mark.extended
def test_13_backups_are_copied_over_ssh_and_two_of_them_kept(plays: Plays, cluster: Cluster, backed_up: None) -> None:
    # To a host whose key is not known, and then to one whose key is; two generations stay here and there.
    backup, address = ("playbooks/backup.yml", *ON_NEXT), cluster.address("pi-03")
    board = connect("pi-03", sudo=False)
    board.check_output("mkdir -p kept")
    there = ("-e", f"cluster_backup_copy_to=pi@{address}:kept", "-e", "cluster_backup_keep=2")
    arguments = str(cluster.var("ansible_ssh_common_args", "pi-03")), cluster.path("cluster_secrets_dir") / "id_ed25519"
    unknown = f"-o UserKnownHostsFile=/dev/null -i {arguments[1]}"
    known = f"{arguments[0].strip()} -i {arguments[1]}"

    def with_arguments(text: str) -> tuple[str, str]:
        return ("-e", shlex.quote(json.dumps({"cluster_backup_copy_ssh_args": text})))

    refused = plays.run("backup to an unknown host", *backup, *there, *with_arguments(unknown), expect=2)
    assert "is complete, but was not copied to" in refused.output
    assert "Host key verification failed" in refused.output
    for number in range(3):
        plays.run(f"backup over ssh, {number}", *backup, *there, *with_arguments(known))
    local = sorted(each.name for each in cluster.path("cluster_backups_dir").glob("2*"))
    assert len(local) == 2
    assert board.check_output(f"ls -A kept/{cluster.var('cluster_name')}").split() == local
    newest = newest_backup(cluster)
    remote = f"kept/{cluster.var('cluster_name')}/{newest.name}"
    sums = board.check_output(f"cd {remote} && sha256sum *").splitlines()
    assert {line.split()[1]: line.split()[0] for line in sums} == {
        each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in newest.iterdir()
    }
    assert board.check_output(f"stat -c %a {remote} {remote}/*").split() == ["700", *["600"] * 5]


def truncate(spoiled: Path) -> None:
    path = spoiled / "server.tar.gz.age"
    os.truncate(path, path.stat().st_size - 1)


def forge(spoiled: Path) -> None:
    path = spoiled / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"cluster_name": "another"}))


def replace_key(spoiled: Path) -> None:
    (spoiled.parent / "other.key").write_text(seal.new_key("another", spoiled.parent / "signer")[0])


@pytest.mark.parametrize(
    ("spoil", "key", "words"),
    [
        pytest.param(
            truncate,
            KEY,
            "server.tar.gz.age has {short} bytes, {size} were written: it is truncated",
            id="truncated",
            marks=pytest.mark.extended,
        ),
        pytest.param(forge, KEY, "was changed after it was signed", id="changed"),
        pytest.param(
            replace_key,
            ("-e", "cluster_backup_identity={folder}/other.key"),
            "it was signed with another key",
            id="foreign",
            marks=pytest.mark.extended,
        ),
        pytest.param(lambda _: None, (), "cluster_backup_identity is missing", id="no key", marks=pytest.mark.extended),
    ],
)
def test_13_a_backup_that_is_not_right_is_refused(
    plays: Plays,
    tmp_path: Path,
    backed_up: None,
    cluster: Cluster,
    spoil: Callable[[Path], None],
    key: tuple[str, ...],
    words: str,
) -> None:
    spoiled = shutil.copytree(newest_backup(cluster), tmp_path / "spoiled")
    size = (spoiled / "server.tar.gz.age").stat().st_size
    spoil(spoiled)
    options = [each.format(folder=tmp_path) for each in key]
    step = plays.run(
        "restore, refused", "playbooks/restore.yml", *ON_NEXT, *options, "-e", f"restore_from={spoiled}", expect=2
    )
    unchanged(step)
    assert re.search("[Nn]othing was changed", step.output)
    assert words.format(short=size - 1, size=size) in step.output


@pytest.mark.extended
def test_13_the_control_node_alone_is_lost(plays: Plays, cluster: Cluster, tmp_path: Path, backed_up: None) -> None:
    secrets, drill = cluster.path("cluster_secrets_dir"), ROOT / "inventory/drill"
    shutil.rmtree(drill, ignore_errors=True)
    shutil.copytree(INVENTORY, drill)
    plays.run("backup", "playbooks/backup.yml", *ON_NEXT, *KEY, inventory=str(drill))
    before = {path: path.read_bytes() for path in (*secrets.rglob("*"), *drill.rglob("*")) if path.is_file()}
    shutil.rmtree(drill)
    lost = Path(shutil.move(secrets, tmp_path / "lost"))
    restore = ("playbooks/restore-control.yml", *KEY, "-e", f"restore_from={newest_backup(cluster)}")
    step = plays.run("restore of the control node", *restore, inventory=str(drill))
    assert step.changed_hosts() == {"localhost"}
    assert {path: path.read_bytes() for path in before} == before
    assert all_ready(*ready_nodes())
    unchanged(plays.run("restore of the control node, again", *restore, inventory=str(drill)))
    # Other secrets are kept, and what differs is said.
    (secrets / "jupyter-password").write_text("another\n")
    step = plays.run("restore of the control node, other secrets", *restore, inventory=str(drill))
    unchanged(step)
    assert f"{secrets} is kept, though it is not as in the backup: jupyter-password." in " ".join(step.output.split())
    (secrets / "jupyter-password").write_bytes((lost / "jupyter-password").read_bytes())
    shutil.rmtree(drill)


@pytest.mark.extended
def test_13_destruction_and_restore(plays: Plays, cluster: Cluster, tmp_path: Path, backed_up: None) -> None:
    """Of all that there was, a backup and its key are left: on another disk, and in the owner's pocket."""
    drill = ROOT / "inventory/drill"
    shutil.rmtree(drill, ignore_errors=True)
    shutil.copytree(INVENTORY, drill)
    on_drill = {"inventory": str(drill)}
    disk, key = tmp_path / "disk", tmp_path / "key"
    disk.mkdir()
    plays.run("backup", "playbooks/backup.yml", *ON_NEXT, *KEY, "-e", f"cluster_backup_copy_to={disk}", **on_drill)
    (saved,) = (disk / cluster.var("cluster_name")).iterdir()
    shutil.copy(KEY_FILE, key)
    old_weights, old_objects = weights(cluster), {each.metadata.uid for each in core().list_namespace().items}
    secrets = cluster.path("cluster_secrets_dir")
    old_secrets = {path: path.read_bytes() for path in secrets.rglob("*") if path.is_file()}
    cards_die("pi-01", "pi-02", "pi-03")
    # And the control node, but for the checkout, which is in git, and the lab's boards.
    for folder in (secrets, cluster.path("cluster_backups_dir"), drill):
        shutil.rmtree(folder)
    KEY_FILE.unlink()
    try:
        restore = (
            "playbooks/restore.yml", *ON_NEXT,
            "-e", f"restore_from={saved}", "-e", f"cluster_backup_identity={key}",
        )  # fmt: skip
        step = plays.run("restore", *restore, **on_drill)
        assert f"{drill}: restored" in step.output
        assert f"{secrets}: restored" in step.output
        assert all_ready("pi-01", "pi-02", "pi-03")
        assert {each.metadata.uid for each in core().list_namespace().items} == old_objects
        assert weights(cluster) == old_weights
        differing = {path.name for path, old in old_secrets.items() if path.read_bytes() != old}
        assert differing <= {"kubeconfig"}
        unchanged(plays.run("restore again --check", *restore, *CHECK, **on_drill))
        # The new control node makes backups for the same key.
        plays.run("backup by the new control node", "playbooks/backup.yml", *ON_NEXT, **on_drill)
        shutil.copy(key, KEY_FILE)
    finally:
        shutil.rmtree(drill, ignore_errors=True)


@pytest.mark.extended
def test_14_the_restored_cluster_predicts_with_the_old_weights(plays: Plays, cluster: Cluster, upgraded: None) -> None:
    old = weights(cluster)
    plays.run("site after restore", "site.yml", *ON_NEXT)
    unchanged(plays.run("site after restore, again", "site.yml", *ON_NEXT))
    wait_until("pods are back", 180, lambda: running_on("pi-02") and running_on("pi-03"))
    assert weights(cluster) == old
    # Those of the last run, which may have predicted with an earlier training's.
    run = (cluster.path("cluster_results_dir") / "latest").resolve()
    file = "fast/model.weights.h5"
    there = connect(cluster.hosts("nfs_servers")[0]).file(f"/srv/books/runs/{run.name}/{file}").sha256sum
    assert hashlib.sha256((run / file).read_bytes()).hexdigest() == there


def test_15_reset_asks_and_leaves_a_base_system(plays: Plays, cluster: Cluster, upgraded: None) -> None:
    refused = plays.run("reset, unconfirmed", "playbooks/reset.yml", "-e", "reset_confirm=another", expect=2)
    assert not refused.changed_hosts()
    plays.run("reset --check", "playbooks/reset.yml", *CHECK)
    assert all_ready("pi-01", "pi-02", "pi-03")
    old = weights(cluster)
    reset = ("playbooks/reset.yml", "-e", f"reset_confirm={cluster.var('cluster_name')}")
    plays.run("reset", *reset)
    for name in ("pi-01", "pi-02", "pi-03"):
        board = connect(name)
        # By the names of processes: the command lines of this very question have these words too.
        assert board.run("pgrep --list-name 'k3s|containerd'").stdout == "", name
        assert board.run("ls -d /sys/fs/cgroup/kubepods*").rc != 0, name
        assert not re.search(r"(k3s|kubelet|cni|containerd)", board.check_output("cat /proc/mounts")), name
        assert not re.search(r"cni0|flannel|veth", board.check_output("ip -o link")), name
        assert not re.search(r"KUBE-|CNI-|FLANNEL", board.check_output("iptables-save; ip6tables-save")), name
        # The program ipset has gone with k3s. Third is how many sets of a type there are.
        assert board.check_output("awk '/^ip_set_hash/ && $3 > 0' /proc/modules") == "", name
        for path in (
            "/etc/rancher",
            "/var/lib/rancher",
            "/var/lib/kubelet",
            "/var/lib/cni",
            "/run/k3s",
            "/run/flannel",
        ):
            assert not board.file(path).exists, f"{name}: {path}"
        assert board.run("ls /etc/systemd/system/k3s*").rc != 0, name
    assert weights(cluster) == old
    unchanged(plays.run("reset again", *reset))


@pytest.mark.extended
def test_16_site_works_again_after_a_reset(plays: Plays, cluster: Cluster) -> None:
    old = weights(cluster)
    plays.run("site after reset", "site.yml", *ON_NEXT)
    assert all_ready("pi-01", "pi-02", "pi-03")
    # The shared data was kept, and so the run of these inputs that is in it.
    assert weights(cluster) == old


def test_17_no_secret_was_shown_anywhere(plays: Plays) -> None:
    """Not by any step of this chain either: each playbook's output was searched when it ended."""
    assert cluster_secrets.on_boards() == []
