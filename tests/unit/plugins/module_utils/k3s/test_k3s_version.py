"""Versions of k3s."""

import itertools

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s.version import Version, is_newer, parse


def test_a_version_has_its_parts() -> None:
    assert parse("v1.36.4-rc2+k3s1") == Version(1, 36, 4, 2, "k3s", 1)
    assert parse("v1.36.4+lab1") == Version(1, 36, 4, None, "lab", 1)


@pytest.mark.parametrize("text", ["", "1.36.4+k3s1", "v1.36.4", "v1.36+k3s1", "v1.36.4-k3s1", "v1.36.4+k3s1\n"])
def test_anything_else_is_no_version(text: str) -> None:
    assert parse(text) is None
    assert not is_newer(text, "v1.36.4+k3s1") and not is_newer("v1.36.4+k3s1", text)


def test_order_of_releases() -> None:
    rising = ["v1.9.9+k3s1", "v1.36.4-rc2+k3s1", "v1.36.4+k3s1", "v1.36.4+k3s2", "v1.36.10+k3s1", "v1.37.0+k3s1"]
    for older, later in itertools.pairwise(rising):
        assert is_newer(later, older) and not is_newer(older, later)
    assert not is_newer("v1.36.3+lab1", "v1.36.3+lab1") and is_newer("v1.36.3+lab2", "v1.36.3+lab1")
