"""The manifests role's own parts: tree, image, plan of what to delete, reasons, password hash."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.edge_ai.cluster.plugins.filter import manifests
from ansible_collections.edge_ai.cluster.plugins.modules import kustomize_render as kustomize


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("edge-ai/tensorflow-jupyter:1", {"newName": "edge-ai/tensorflow-jupyter", "newTag": "1"}),
        ("10.77.0.1:5000/edge/tf:a-b.c", {"newName": "10.77.0.1:5000/edge/tf", "newTag": "a-b.c"}),
        ("localhost/tf@sha256:00", {"newName": "localhost/tf", "digest": "sha256:00"}),
        ("h:5000/tf:1@sha256:00", {"newName": "h:5000/tf", "digest": "sha256:00"}),
    ],
)
def test_image_references_are_parsed(reference: str, parts: dict[str, str]) -> None:
    assert manifests.manifests_image(reference) == parts


@pytest.mark.parametrize("reference", ["edge-ai/tf", "edge-ai/tf:latest", "10.77.0.1:5000/edge/tf", "a b:1", ""])
def test_images_without_a_fixed_tag_are_rejected(reference: str) -> None:
    with pytest.raises(AnsibleFilterError):
        manifests.manifests_image(reference)


def test_tree_has_what_kustomize_reads_at_the_same_paths(tmp_path: Path) -> None:
    (tmp_path / "k8s" / "base").mkdir(parents=True)
    (tmp_path / "own").mkdir()
    for name in ("k8s/base/a.yaml", "k8s/base/.hidden", "k8s/README.md", "k8s/base/config.py", "own/b.yaml"):
        (tmp_path / name).write_text(name)
    below = str(tmp_path).lstrip("/")
    assert manifests.manifests_tree([str(tmp_path / "k8s"), str(tmp_path / "own")]) == {
        f"{below}/{name}": name for name in ("k8s/base/a.yaml", "k8s/base/config.py", "own/b.yaml")
    }


def obj(kind: str, name: str, version: str = "v1") -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "edge-ai"}}


def record(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [manifests.manifests_record(manifests.manifests_ids(objects), "edge-ai", "manifests-applied", "edge")]


def names(objects: list[dict[str, Any]]) -> list[str]:
    return [f"{o['kind']}/{o['metadata']['name']}" for o in objects]


COMMON = [obj("PersistentVolumeClaim", "nfs"), obj("ConfigMap", "config-1")]


def test_first_run_deletes_nothing() -> None:
    plan = manifests.manifests_plan(COMMON, [])
    assert plan["stale"] == plan["stale_configuration"] == plan["kept"] == []
    assert plan["union"] == plan["final"] == manifests.manifests_ids(COMMON)


def test_second_run_plans_nothing() -> None:
    plan = manifests.manifests_plan(COMMON, record(COMMON))
    assert plan["stale"] == plan["stale_configuration"] == plan["kept"] == []
    assert plan["union"] == plan["final"]


def test_other_overlay_is_removed_pods_first_configuration_last() -> None:
    split = [*COMMON, obj("Deployment", "training-instance", "apps/v1"), obj("Service", "training-instance")]
    combined = [COMMON[0], obj("ConfigMap", "config-2"), obj("Deployment", "tensorflow-jupyter-rpi", "apps/v1")]
    plan = manifests.manifests_plan(combined, record(split))
    assert names(plan["stale"]) == ["Deployment/training-instance", "Service/training-instance"]
    assert names(plan["stale_configuration"]) == ["ConfigMap/config-1"]
    # After an interruption right after recording, the next run still knows what to delete.
    again = manifests.manifests_plan(combined, [{"data": record(split)[0]["data"]}])
    assert sorted(again["union"]) == sorted(plan["union"])
    assert plan["final"] == manifests.manifests_ids(combined)


def test_data_is_never_deleted_and_stays_recorded() -> None:
    plan = manifests.manifests_plan([COMMON[1]], record(COMMON))
    assert plan["stale"] == plan["stale_configuration"] == []
    assert plan["kept"] == [["v1", "PersistentVolumeClaim", "edge-ai", "nfs"]]
    assert plan["final"] == plan["union"]


def deployment(**status: int) -> dict[str, Any]:
    return {
        "kind": "Deployment",
        "metadata": {"name": "training-instance", "generation": 2},
        "spec": {"replicas": 1},
        "status": status,
    }


READY = {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}


@pytest.mark.parametrize(
    ("status", "unready"),
    [
        (READY, []),
        ({}, ["training-instance"]),
        # The old pod is still running while the new one is only desired.
        (READY | {"observedGeneration": 1}, ["training-instance"]),
        (READY | {"replicas": 2}, ["training-instance"]),
        (READY | {"updatedReplicas": 0}, ["training-instance"]),
        (READY | {"availableReplicas": 0}, ["training-instance"]),
    ],
)
def test_rollout_is_complete_or_not(status: dict[str, int], unready: list[str]) -> None:
    assert manifests.manifests_unready([deployment(**status), obj("Service", "x")]) == unready


def test_reasons_are_those_of_the_pods() -> None:
    pods = [
        {
            "metadata": {"name": "a-ready"},
            "spec": {"nodeName": "pi-02"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        },
        {
            "metadata": {"name": "b-waits"},
            "spec": {"nodeName": "pi-03"},
            "status": {
                "conditions": [{"type": "Ready", "status": "False"}],
                "containerStatuses": [
                    {
                        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
                        "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
                    }
                ],
            },
        },
        {
            "metadata": {"name": "c-nowhere"},
            "spec": {},
            "status": {
                "phase": "Pending",
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.",
                    }
                ],
            },
        },
    ]
    events = [
        {"type": "Normal", "involvedObject": {"name": "b-waits"}, "reason": "Pulled", "message": "there"},
        {
            "type": "Warning",
            "involvedObject": {"name": "b-waits"},
            "reason": "FailedMount",
            "message": "MountVolume.SetUp failed for volume nfs :\n  mount.nfs: access denied",
            "lastTimestamp": "2026-11-22T02:00:00Z",
        },
    ]
    assert manifests.manifests_reasons(pods, events) == [
        "b-waits on pi-03: CrashLoopBackOff: back-off 10s",
        "b-waits on pi-03: OOMKilled (exit code 137): no message",
        "b-waits on pi-03: FailedMount: MountVolume.SetUp failed for volume nfs : mount.nfs: access denied",
        "c-nowhere on no node: Unschedulable: 0/3 nodes are available: "
        "3 node(s) didn't match Pod's node affinity/selector.",
    ]


def test_stored_hash_is_kept_until_the_password_changes() -> None:
    password = "correct horse battery"
    stored = manifests.manifests_hash(password)
    assert manifests.manifests_hash_matches(password, stored + "\n")
    assert not manifests.manifests_hash_matches(password + "2", stored)
    for damaged in ("", "argon2:damaged", "sha512:damaged", "md5:x:y"):
        assert not manifests.manifests_hash_matches(password, damaged)


def test_without_argon2_a_short_password_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "argon2", None)
    with pytest.raises(AnsibleFilterError, match="argon2-cffi"):
        manifests.manifests_hash("correct horse")
    stored = manifests.manifests_hash("correct horse battery")
    kind, salt, digest = stored.split(":")
    # As computed by jupyter_server.auth.passwd_check.
    assert hashlib.new(kind, b"correct horse battery" + salt.encode()).hexdigest() == digest
    assert manifests.manifests_hash_matches("correct horse battery", stored)
    assert not manifests.manifests_hash_matches("correct horse batterx", stored)


def test_no_file_is_written_outside_the_temporary_tree(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is outside the tree"):
        kustomize.render({"../escaped": "x"}, ".", ["true"])


def test_error_of_kustomize_is_reported() -> None:
    # `cat` of a directory fails as kustomize does: with a message and a status.
    text, error = kustomize.render({"a/kustomization.yaml": "x"}, "a", ["cat"])
    assert text == ""
    assert error.startswith("cat: /a: ")
    assert kustomize.render({"a/b": "x"}, "a", ["ls"]) == ("b\n", "")
