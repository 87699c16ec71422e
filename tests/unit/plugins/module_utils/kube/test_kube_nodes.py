"""Nodes as JSON and as objects of the Python client."""

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.nodes import internal_address, is_ready, ready_status
from kubernetes import client


def both(status: str | None) -> list[Any]:
    """One Node in both forms; None: one whose kubelet never reported."""
    if status is None:
        return [{"status": {}}, SimpleNamespace(status=client.V1NodeStatus())]
    json = {
        "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": status}],
        "addresses": [{"type": "Hostname", "address": "pi-01"}, {"type": "InternalIP", "address": "192.168.1.11"}],
    }
    conditions = [client.V1NodeCondition(**each) for each in json["conditions"]]
    addresses = [client.V1NodeAddress(**each) for each in json["addresses"]]
    return [{"status": json}, client.V1Node(status=client.V1NodeStatus(conditions=conditions, addresses=addresses))]


@pytest.mark.parametrize(
    ("status", "known"), [("True", "True"), ("False", "False"), ("Unknown", "Unknown"), (None, "Unknown")]
)
def test_the_condition_ready(status: str | None, known: str) -> None:
    for node in both(status):
        assert ready_status(node) == known
        assert is_ready(node) is (known == "True")


def test_the_address() -> None:
    assert [internal_address(node) for node in both("True")] == ["192.168.1.11"] * 2
    assert [internal_address(node) for node in both(None)] == ["", ""]
