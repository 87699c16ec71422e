"""A cluster of four boards, with a backup, as each of these tests begins with it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from kubernetes import client

from lab import settings, snapshot
from tests.support import snapshots
from tests.support.cluster import kubernetes_api
from tests.support.plays import FAST, KEY, Plays, lab, recorded
from tests.support.watch import NAMESPACE, wait_until

READER = "reader"
"""A DaemonSet whose pods are ready while they can read the shared data."""


@pytest.fixture(scope="session")
def plays() -> Plays:
    return recorded("failed-cards")


def run_readers() -> None:
    """Have a reader on every board."""
    apps = client.AppsV1Api(kubernetes_api())
    image = apps.list_namespaced_deployment(NAMESPACE).items[0].spec.template.spec.containers[0].image
    container = {
        "name": READER, "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "infinity"],
        "readinessProbe": {
            "exec": {"command": ["head", "--bytes=1", "/books/weights/fast/model.weights.h5"]},
            "periodSeconds": 5, "timeoutSeconds": 5,
        },
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "books", "mountPath": "/books"}],
    }  # fmt: skip
    spec = {
        "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1, "containers": [container],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001,
                            "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [{"name": "books", "persistentVolumeClaim": {"claimName": "nfs"}}],
    }  # fmt: skip
    template = {"metadata": {"labels": {"app": READER}}, "spec": spec}
    body = {"metadata": {"name": READER}, "spec": {"selector": {"matchLabels": {"app": READER}}, "template": template}}
    apps.create_namespaced_daemon_set(NAMESPACE, body)
    wait_until("every board has a reader", 180, lambda: all_read(apps))


def all_read(apps: client.AppsV1Api) -> bool:
    """Whether the readers of all four boards are ready."""
    return bool(apps.read_namespaced_daemon_set(READER, NAMESPACE).status.number_ready == 4)


@pytest.fixture(scope="session")
def kept(plays: Plays) -> str:
    """Name of the snapshot of that cluster, made when there is none."""
    name = snapshots.name().replace("finished", "four", 1)
    if name not in snapshot.names(settings.load()):
        snapshots.begin(lambda: plays.run("site", "site.yml", *FAST))
        # The finished cluster may be that of another scenario, which has three of the boards.
        plays.run("site, four boards", "site.yml", *FAST)
        run_readers()
        plays.run("backup", "playbooks/backup.yml", *KEY)
        snapshots.save(name)
    return name


@pytest.fixture(autouse=True)
def four_boards(kept: str) -> None:
    """The cluster as it was kept."""
    lab("up")
    since = datetime.now(UTC)
    lab("snapshot", "restore", kept)
    wait_until("the cluster works", 300, lambda: snapshots.works_since(since))
