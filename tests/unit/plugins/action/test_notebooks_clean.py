"""Jobs of earlier runs are gone before the same names are used again, and a board without power holds nothing up."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.edge_ai.cluster.plugins.action import notebooks_clean, notebooks_wait
from kubernetes import client

TASK = {"kubeconfig": "/k", "namespace": "edge-ai", "selector": "managed-by=x"}


def node(name: str, ready: bool) -> Any:
    condition = SimpleNamespace(type="Ready", status="True" if ready else "Unknown")
    return SimpleNamespace(metadata=SimpleNamespace(name=name), status=SimpleNamespace(conditions=[condition]))


def pod(name: str, on: str, uid: str = "", phase: str = "Running") -> Any:
    meta = SimpleNamespace(name=name, labels={"batch.kubernetes.io/controller-uid": uid})
    status = SimpleNamespace(phase=phase, conditions=None, container_statuses=None, reason=None, message=None)
    return SimpleNamespace(metadata=meta, spec=SimpleNamespace(node_name=on, node_selector=None), status=status)


class Cluster:
    """An API in which each request is a second, and `events` happen at theirs."""

    def __init__(self, jobs: list[str], pods: list[Any], nodes: dict[str, bool]) -> None:
        self.jobs, self.pods, self.nodes = jobs, pods, nodes
        self.events: dict[int, Callable[[], object]] = {}
        self.policies: list[str] = []
        self.seconds = 0
        self.shown: list[str] = []

    def monotonic(self) -> float:
        return float(self.seconds)

    def sleep(self, _: float) -> None:
        self.seconds += 1
        self.events.get(self.seconds, int)()

    def list_namespaced_job(self, **_: object) -> Any:
        return SimpleNamespace(items=[SimpleNamespace(metadata=SimpleNamespace(name=name)) for name in self.jobs])

    def delete_collection_namespaced_job(self, *, propagation_policy: str, **_: object) -> None:
        self.policies.append(propagation_policy)
        self.jobs = [name for name in self.jobs if name == "held"]

    def list_namespaced_pod(self, **_: object) -> Any:
        return SimpleNamespace(items=self.pods)

    def list_node(self, **_: object) -> Any:
        return SimpleNamespace(items=[node(name, ready) for name, ready in self.nodes.items()])


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> Callable[[Cluster], list[str]]:
    def cleaned(cluster: Cluster) -> list[str]:
        monkeypatch.setattr(notebooks_clean, "time", cluster)
        one = notebooks_clean.Cleaning(client.ApiClient(), TASK, cluster.shown.append)
        monkeypatch.setattr(one, "core", cluster)
        monkeypatch.setattr(one, "batch", cluster)
        return one.clean()

    return cleaned


Clean = Callable[[Cluster], list[str]]


def test_a_pod_on_a_board_without_power_is_not_waited_for(clean: Clean) -> None:
    cluster = Cluster(["training-fast"], [pod("training-fast-x", "pi-02")], {"pi-01": True, "pi-02": False})
    assert clean(cluster) == ["training-fast"]
    assert cluster.seconds <= 1
    # In the foreground, the API would keep the Job until its pod has ended.
    assert set(cluster.policies) == {"Background"}
    assert "training-fast-x on pi-02 is not waited for" in cluster.shown[0]


def test_a_pod_on_a_running_board_is_waited_for_also_when_its_job_is_gone(clean: Clean) -> None:
    cluster = Cluster([], [pod("training-fast-x", "pi-02")], {"pi-02": True})
    cluster.events[3] = cluster.pods.clear
    assert clean(cluster) == []
    assert cluster.seconds == 3 and not cluster.shown


def test_a_board_may_lose_its_power_meanwhile(clean: Clean) -> None:
    cluster = Cluster(["training-fast"], [pod("training-fast-x", "pi-02")], {"pi-02": True})
    cluster.events[4] = lambda: cluster.nodes.update({"pi-02": False})
    assert clean(cluster) == ["training-fast"]
    assert cluster.seconds == 4


def test_pods_that_no_board_has_to_end_are_not_waited_for(clean: Clean) -> None:
    assert clean(Cluster([], [pod("training-fast-x", "")], {"pi-02": True})) == []


def test_what_is_left_is_an_error_with_its_place(clean: Clean) -> None:
    cluster = Cluster(["held", "report"], [pod("training-fast-x", "pi-02")], {"pi-02": True})
    with pytest.raises(AnsibleActionFail) as failed:
        clean(cluster)
    assert "not gone after 120 s: Job held, pod training-fast-x on pi-02. No notebook was started" in str(failed.value)
    assert "kubectl --kubeconfig /k -n edge-ai describe jobs,pods -l managed-by=x" in str(failed.value)


def test_a_server_that_restarts_is_waited_for(clean: Clean, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(["report"], [], {"pi-02": True})
    listed = cluster.list_namespaced_job

    def stopped(**_: object) -> Any:
        raise client.ApiException(503, "starting")

    monkeypatch.setattr(cluster, "list_namespaced_job", stopped)
    cluster.events[2] = lambda: monkeypatch.setattr(cluster, "list_namespaced_job", listed)
    assert clean(cluster) == ["report"]


def test_a_pod_of_an_earlier_job_of_the_same_name_is_not_the_notebooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left on a board without power, with the label of the Job's name."""
    pods = [pod("report-old", "pi-02", "1", phase="Failed"), pod("report-new", "pi-03", "2", phase="Succeeded")]

    class Watch:
        def stream(self, _: object, namespace: str, *, label_selector: str, **__: object) -> list[dict[str, Any]]:
            key, _, value = label_selector.partition("=")
            return [{"object": each} for each in pods if each.metadata.labels.get(key) == value]

    monkeypatch.setattr(notebooks_wait.watch, "Watch", Watch)
    own = {"job": "report", "uid": "2", "title": "report.ipynb", "last": 0, "export": "pi-01:/srv/books", "timeout": 5}
    watcher = notebooks_wait.Watcher(client.ApiClient(), TASK | own, lambda _: None)
    assert watcher.wait().metadata.name == "report-new"
