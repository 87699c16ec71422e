"""What a cluster has where k3s_server_config says nothing, and what it says in each form that k3s takes."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s import networks


@pytest.mark.parametrize(
    ("config", "pods"),
    [
        ({}, ["10.42.0.0/16"]),
        ("x", ["10.42.0.0/16"]),
        ({"cluster-cidr": "10.52.0.0/16, fd00:52::/56"}, ["10.52.0.0/16", "fd00:52::/56"]),
        ({"cluster-cidr": ["10.52.0.0/16", "fd00:52::/56"]}, ["10.52.0.0/16", "fd00:52::/56"]),
        ({"cluster-cidr": "10.52.0.0"}, ["10.52.0.0/32"]),
        ({"cluster-cidr": ["ten", 10]}, []),
        # Not read by k3s beside the key itself, and an error in preflight.
        ({"cluster-cidr+": "10.52.0.0/16"}, ["10.42.0.0/16"]),
    ],
)
def test_networks(config: Any, pods: list[str]) -> None:
    found = networks.networks_of_k3s(config)
    assert [str(each) for each in found["pods"]] == pods
    assert [str(each) for each in found["services"]] == ["10.43.0.0/16"]
