"""The manifests role's own parts: plan of what to delete, reasons, password hash."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.edge_ai.cluster.plugins.filter import manifests


def obj(kind: str, name: str, version: str = "v1") -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "edge-ai"}}


def record(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [manifests.manifests_record(manifests.manifests_ids(objects), "edge-ai", "manifests-applied", "edge")]


def names(objects: list[dict[str, Any]]) -> list[str]:
    return [f"{o['kind']}/{o['metadata']['name']}" for o in objects]


COMMON = [obj("PersistentVolumeClaim", "nfs"), obj("ConfigMap", "config-1")]


def test_networks_of_boards() -> None:
    hostvars = {
        "pi-01": {"ansible_host": "203.0.113.70", "flash_prefix": 26},
        "pi-02": {"ansible_host": "198.51.100.7", "k3s_node_ip": "10.9.0.2", "flash_gateway": ""},
        "192.168.1.9": {},
        "pi-04": {"ansible_host": "pi-04.local"},
        "pi-05": {"ansible_host": "fd00::5"},
    }
    assert manifests.manifests_networks(list(hostvars), hostvars) == [
        "10.9.0.0/24", "192.168.1.0/24", "198.51.100.0/24", "203.0.113.64/26",
    ]  # fmt: skip


def test_servers_are_reached_at_any_address_that_k3s_may_announce() -> None:
    hostvars: dict[str, dict[str, Any]] = {
        "pi-01": {"ansible_host": "192.168.1.11", "k3s_node_ip": "10.9.0.1"},
        "pi-02": {"ansible_host": "192.168.1.12", "k3s_server_config": {"node-external-ip": "203.0.113.7, fd00::7"}},
        "192.168.1.13": {"k3s_server_config": {"node-external-ip+": ["203.0.113.8"], "advertise-address": "10.9.0.3"}},
    }
    found = [each["ipBlock"]["cidr"] for each in manifests.manifests_api_servers(list(hostvars), hostvars)]
    assert found == [
        "10.9.0.1/32", "10.9.0.3/32", "192.168.1.11/32", "192.168.1.12/32", "192.168.1.13/32", "203.0.113.7/32",
        "203.0.113.8/32",
    ]  # fmt: skip
    for unknown in (
        {"ansible_host": "pi-04.local"},
        {"ansible_host": "192.168.1.14", "k3s_server_config": {"vpn-auth-file": "/etc/vpn"}},
    ):
        more = {**hostvars, "pi-04": unknown}
        assert manifests.manifests_api_servers(list(more), more) == []
    assert manifests.manifests_api_servers([], {}) == []


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


def test_with_check_only_what_the_api_can_compare_is_compared() -> None:
    ports = [obj("Service", "training-instance"), obj("Service", "jupyter-node-ports")]
    route = obj("IngressRoute", "jupyter", "traefik.io/v1alpha1")
    # Kinds that are not installed yet; and a node port that is taken until its Service is gone.
    assert manifests.manifests_plan([*COMMON, *ports, route], record([*COMMON, ports[0]]))["checkable"] == [
        *COMMON,
        ports[0],
    ]
    assert manifests.manifests_plan([*COMMON, ports[0]], record([*COMMON, *ports]))["checkable"] == COMMON


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


def test_an_empty_password_is_none() -> None:
    with pytest.raises(AnsibleFilterError, match="the password is empty"):
        manifests.manifests_hash("")


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


def volume(**metadata: Any) -> dict[str, Any]:
    reference = {"kind": "PersistentVolumeClaim", "namespace": "edge-ai", "name": "nfs", "uid": "claim-1"}
    return {
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "nfs", "uid": "volume-1"} | metadata,
        "spec": {"claimRef": reference}, "status": {"phase": "Bound"},
    }  # fmt: skip


def claim(phase: str = "Bound", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"namespace": "edge-ai", "name": "nfs", "uid": "claim-1"} | metadata,
        "spec": {"volumeName": "nfs"}, "status": {"phase": phase},
    }  # fmt: skip


CLAIM = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "nfs", "namespace": "edge-ai"}}
VOLUME = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "nfs"}}
DELETED = {"deletionTimestamp": "2026-11-25T20:00:00Z"}


SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}}


def test_a_namespace_that_does_not_end_is_reported_with_what_holds_it() -> None:
    there = {"metadata": {"name": "edge-ai"}, "status": {"phase": "Active"}}
    assert manifests.manifests_terminating([]) == manifests.manifests_terminating([there]) == ""
    left = {"type": "NamespaceFinalizersRemaining", "status": "True", "message": "example.org/x in 1 instances"}
    none = {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "All resources discovered"}
    ending = {"metadata": {"name": "edge-ai", **DELETED}, "status": {"conditions": [none, left]}}
    text = manifests.manifests_terminating([ending])
    assert "edge-ai was deleted, and does not end: example.org/x in 1 instances." in text
    assert "All resources" not in text
    assert "no reason" in manifests.manifests_terminating([{"metadata": {"name": "edge-ai", **DELETED}}])


def test_a_namespace_that_is_being_deleted_is_known_from_what_was_applied() -> None:
    there: dict[str, Any] = {"kind": "Namespace", "metadata": {"name": "edge-ai"}}
    secret = {"kind": "Secret", "metadata": {"name": "a", **DELETED}}

    def applied(*objects: dict[str, Any]) -> dict[str, Any]:
        return {"changed": True, "result": {"results": [{"result": each} for each in objects]}}

    assert not manifests.manifests_namespace_ends(applied(there, secret))
    assert manifests.manifests_namespace_ends(applied(there | {"metadata": {"name": "edge-ai", **DELETED}}, secret))
    # What the API answers to a new object in it.
    answer = (
        """Failed to apply object: b'{"kind":"Status","status":"Failure","reason":"Forbidden","details":{"causes":"""
        """[{"reason":"NamespaceTerminating","message":"namespace edge-ai is being terminated"}]}}'"""
    )
    assert manifests.manifests_namespace_ends({"failed": True, "msg": answer, "reason": "Forbidden"})
    assert not manifests.manifests_namespace_ends(
        {"failed": True, "msg": "secrets is forbidden", "reason": "Forbidden"}
    )


@pytest.mark.parametrize(
    ("objects", "unusable"),
    [
        ([volume(), claim()], []),
        ([volume(**DELETED), claim()], [CLAIM, VOLUME]),
        ([volume(), claim(**DELETED)], [CLAIM]),
        ([volume(), claim("Lost")], [CLAIM]),
        ([obj("Service", "a") | {"metadata": {"name": "a", **DELETED}}, claim()], [SERVICE]),
    ],
    ids=[
        "healthy",
        "the volume was deleted",
        "the claim was deleted",
        "the volume was lost",
        "others have a finalizer",
    ],
)
def test_what_was_deleted_in_use_is_made_anew(objects: list[dict[str, Any]], unusable: list[dict[str, Any]]) -> None:
    assert manifests.manifests_unusable(objects) == unusable


def test_a_volume_is_released_for_a_new_claim() -> None:
    (patch,) = manifests.manifests_released([volume(), claim("Pending", uid="claim-2")])
    assert patch == VOLUME | {"spec": {"claimRef": {"uid": None, "resourceVersion": None}}}
    unbound = volume()
    del unbound["spec"]["claimRef"]["uid"]
    for objects in ([volume(), claim()], [volume()], [unbound, claim()]):
        assert manifests.manifests_released(objects) == []
