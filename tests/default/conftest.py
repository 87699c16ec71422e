"""Fixtures of the cluster tests: every board by ssh, and the Kubernetes API."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes import client

from tests.support.cluster import CLUSTER, Cluster, connect, kubernetes_api


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    return CLUSTER


@pytest.fixture(scope="session")
def boards() -> dict[str, Any]:
    """Every board of the cluster by name."""
    return {name: connect(name) for name in CLUSTER.hosts("cluster")}


@pytest.fixture(params=CLUSTER.hosts("cluster"))
def board(request: pytest.FixtureRequest, boards: dict[str, Any]) -> Any:
    """Each board of the cluster in turn."""
    return boards[request.param]


@pytest.fixture(scope="session")
def trained(cluster: Cluster) -> list[str]:
    """Profiles of the training: LiteRT predicts with what another one trained."""
    return [profile for profile in cluster.var("notebooks_profiles", role="notebooks") if profile != "lite"]


@pytest.fixture(scope="session")
def predicted(cluster: Cluster) -> list[str]:
    """Profiles of the prediction."""
    return list(cluster.var("notebooks_prediction_profiles", role="notebooks"))


@pytest.fixture(scope="session")
def api() -> client.ApiClient:
    return kubernetes_api()


@pytest.fixture(scope="session")
def core(api: client.ApiClient) -> client.CoreV1Api:
    return client.CoreV1Api(api)
