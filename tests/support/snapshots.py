"""The finished cluster, kept as a snapshot of its lab, so that a chain or a single step of one can begin with it.

    python -m tests.support.snapshots

saves it. Its name has a digest of what the cluster was made from: after a change of those it is not found, so not used.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime

from kubernetes import client

from lab import settings, snapshot
from lab.cache import digest_of
from tests.support.cluster import CLUSTER, kubernetes_api
from tests.support.paths import ROOT
from tests.support.plays import KEY_FILE, lab
from tests.support.watch import NAMESPACE, core, wait_until

INPUTS = (
    "ansible.cfg", "docker", "inventory", "k8s", "lab", "molecule", "notebooks", "playbooks", "plugins",
    "requirements.txt", "roles", "site.yml",
)  # fmt: skip


def name() -> str:
    """The snapshot's name for this checkout as it is now."""
    files = [
        each for part in INPUTS for each in ([ROOT / part] if (ROOT / part).is_file() else (ROOT / part).rglob("*"))
    ]
    # molecule keeps its durations in a hidden folder of each scenario.
    hidden = ".ansible"
    made_from = sorted(each for each in files if each.is_file() and each.suffix != ".md" and hidden not in each.parts)
    return f"finished-{digest_of(made_from, ROOT)}"


def save(label: str, *options: str) -> None:
    """Keep the cluster that runs, with its secrets and results, instead of one that was made from something else.

    A label is a kind, a hyphen and the digest of what it was made from.
    """
    for old in snapshot.names(settings.load()):
        if old.startswith(label.rpartition("-")[0] + "-"):
            lab("snapshot", "delete", old)
    kept = [CLUSTER.path(each) for each in ("cluster_secrets_dir", "cluster_results_dir", "cluster_backups_dir")]
    kept.append(KEY_FILE)
    include = [word for path in kept if path.exists() for word in ("--include", str(path))]
    lab("snapshot", "save", label, *include, *options)


def begin(converge: Callable[[], object]) -> None:
    """Have the finished cluster run: from its snapshot, or made by `converge` from blank cards, and then saved.

    All that the lab's instance had before is lost, so the one that `make site` uses is refused by AssertionError.
    """
    instance = settings.load()
    assert instance.name != settings.DEFAULT_NAME, "set EDGE_LAB_NAME and EDGE_LAB_SUBNET: this replaces all cards"
    shutil.rmtree(CLUSTER.path("cluster_backups_dir"), ignore_errors=True)
    KEY_FILE.unlink(missing_ok=True)
    # Before it is made: a file that is edited meanwhile had no part in it.
    wanted = name()
    if wanted in snapshot.names(instance):
        lab("up")
        since = datetime.now(UTC)
        lab("snapshot", "restore", wanted)
    else:
        lab("down", "--cards")
        shutil.rmtree(CLUSTER.path("cluster_secrets_dir"), ignore_errors=True)
        lab("up")
        converge()
        since = datetime.now(UTC)
        save(wanted)
    wait_until("the restored cluster works", 300, lambda: works_since(since))


def works_since(since: datetime) -> bool:
    """Whether every kubelet and every container of the workload has been started since then.

    What Nodes and Pods say of themselves is what they said before the power went.
    """
    leases = client.CoordinationV1Api(kubernetes_api()).list_namespaced_lease("kube-node-lease", _request_timeout=10)
    pods = core().list_namespaced_pod(NAMESPACE, _request_timeout=10).items
    containers = [each for pod in pods for each in pod.status.container_statuses or [] if pod.status.phase == "Running"]
    return all(each.spec.renew_time > since for each in leases.items) and all(
        each.ready and each.state.running.started_at >= since.replace(microsecond=0) for each in containers
    )


if __name__ == "__main__":
    save(name(), "--leave-off")
