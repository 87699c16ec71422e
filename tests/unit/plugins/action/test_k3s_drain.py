"""Which pods keep a node from being drained, and what of a cordon is remembered."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.edge_ai.cluster.plugins.action import k3s_drain as drain

NEW = "v1.36.4+k3s1"


def pod(kind: str = "ReplicaSet", phase: str = "Running", namespace: str = "edge-ai", **more: Any) -> Any:
    owners = [SimpleNamespace(kind=kind, controller=True)] if kind else None
    meta = SimpleNamespace(name="p", namespace=namespace, owner_references=owners, annotations=more.get("annotations"))
    volumes = [SimpleNamespace(name="tmp", empty_dir=object())] if more.get("local") else None
    return SimpleNamespace(metadata=meta, status=SimpleNamespace(phase=phase), spec=SimpleNamespace(volumes=volumes))


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (pod(), ""),
        (pod(local=True), ""),
        (pod(local=True, namespace="mine"), "add mine to k3s_drain_emptydir_namespaces"),
        (pod("DaemonSet", local=True, namespace="mine"), ""),
        (pod("", annotations={"kubernetes.io/config.mirror": "x"}), ""),
        (pod(""), "no controller"),
        (pod("", local=True, annotations={drain.MAY_GO: "true"}), ""),
        (pod("", annotations={drain.MAY_GO: "false"}), "no controller"),
        (pod("", phase="Succeeded"), ""),
        (pod("Job"), "Job that is running"),
        (pod("Job", phase="Failed"), ""),
    ],
)
def test_pods_that_would_lose_something_block_a_drain(one: Any, words: str) -> None:
    found = drain.blocker(one, ["edge-ai"])
    assert words in found[1] if words else found is None
    assert not words or drain.blocker(one, ["*"]) == (None if found[0] == "data" else found)


def kube_node(cordoned: bool, mark: dict[str, Any] | None) -> Any:
    annotations = {"m": json.dumps(mark)} if mark else None
    return SimpleNamespace(
        metadata=SimpleNamespace(annotations=annotations), spec=SimpleNamespace(unschedulable=cordoned or None)
    )


def cycle(cordoned: bool, mark: dict[str, Any] | None) -> tuple[bool, dict[str, Any] | None]:
    """Whether a node is cordoned after it was drained and released, and what is still recorded."""
    actor = drain.Drain.__new__(drain.Drain)
    actor.task = {"mark": "m", "reason": NEW}
    one = kube_node(cordoned, mark)
    for step in (actor.cordon, actor.release):
        patch = step(one) or {}
        if "unschedulable" in patch.get("spec", {}):
            one.spec.unschedulable = patch["spec"]["unschedulable"]
        for value in patch.get("metadata", {}).get("annotations", {}).values():
            one.metadata.annotations = {"m": value} if value else None
        if step == actor.cordon:
            assert one.spec.unschedulable
    return bool(one.spec.unschedulable), drain.mark_of(one, "m")


def test_what_a_user_cordoned_stays_so_and_what_an_upgrade_cordoned_does_not() -> None:
    assert cycle(False, None) == (False, None)
    assert cycle(True, None) == (True, None)
    # After an upgrade that was killed between the two.
    assert cycle(True, {"reason": NEW, "cordoned": True}) == (False, None)
    assert cycle(True, {"reason": NEW, "cordoned": False}) == (True, None)
    # A user uncordoned it meanwhile.
    assert cycle(False, {"reason": NEW, "cordoned": True}) == (False, None)


@pytest.mark.parametrize("text", ["{", "[]", "[" * 200_000, "1" * 5000])
def test_a_mark_that_a_kubelet_wrote_uncordons_nothing_and_ends_no_run(text: str) -> None:
    one = kube_node(True, None)
    one.metadata.annotations = {"m": text}
    assert drain.mark_of(one, "m") == {"reason": text, "cordoned": False}


class Cluster:
    """The calls of the API that a drain makes, for one pod on one node."""

    def __init__(self) -> None:
        self.left = [pod()]
        self.left[0].metadata.deletion_timestamp = None
        self.left[0].metadata.uid = "u"
        self.taints: list[Any] = []

    def read_node(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(spec=SimpleNamespace(taints=self.taints))

    def list_pod_for_all_namespaces(self, **_: Any) -> Any:
        return SimpleNamespace(items=list(self.left))

    def create_namespaced_pod_eviction(self, *_: Any, **__: Any) -> None:
        self.left.clear()


def test_nothing_is_evicted_before_the_controllers_have_seen_the_cordon() -> None:
    actor = drain.Drain.__new__(drain.Drain)
    cluster = actor.api = Cluster()
    actor.task = {"node": "pi-02", "emptydir_namespaces": [], "timeout": 0, "kubeconfig": "k"}
    evicted: list[str] = []
    cluster.taints = [SimpleNamespace(key="node.kubernetes.io/not-ready")]
    assert "kube-controller-manager" in actor.step(evicted)
    with pytest.raises(
        AnsibleActionFail, match=r"pi-02 is not drained after 0 s.*\n  kube-controller-manager: has not put"
    ):
        actor.drain()
    assert not evicted and cluster.left
    cluster.taints.append(SimpleNamespace(key=drain.CORDONED))
    assert actor.step(evicted) == {"edge-ai/p": "is ending"}
    assert evicted == ["edge-ai/p"]
    assert actor.drain() == []
