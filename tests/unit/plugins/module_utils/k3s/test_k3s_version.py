"""Versions of k3s."""

import itertools

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s.version import (
    Version,
    is_newer,
    parse,
    release_problem,
    servers_problem,
)


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


@pytest.mark.parametrize("text", ["v1.36.4+k3s1", "v1.36.3+lab2"])
def test_a_release_may_be_installed(text: str) -> None:
    assert release_problem(text) is None


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("stable", "a whole release tag"),
        ("1.36", "v1.36.0+k3s1"),
        ("v1.36.4-k3s2", "v1.36.4+k3s2"),
        ("v1.36.4+k3s0", "v1.36.4+k3s1"),
        ("v1.36.5-rc1+k3s1", "v1.36.5+k3s1"),
        ("v1.36.4+rke2r1", "a whole release tag"),
    ],
)
def test_anything_else_is_not_installed(text: str, instead: str) -> None:
    problem = release_problem(text)
    assert problem and problem[1].startswith(f"write it as {instead}")


def test_a_cluster_has_one_three_or_five_servers() -> None:
    assert [count for count in range(10) if servers_problem(count) is None] == [1, 3, 5]
    problems = {count: servers_problem(count) or ("", "") for count in (0, 2, 4, 7)}
    assert "no server" in problems[0][0]
    assert [problems[count][1] for count in (2, 4, 7)] == ["use 1 or 3", "use 3 or 5", "use 5, the others as agents"]


@pytest.mark.parametrize("number", ["9" * 5000, "1" * 10, "\u0661"])
def test_a_number_that_no_release_has_is_no_version(number: str) -> None:
    """A kubelet says what it likes, and the API hands it on."""
    for text in (f"v{number}.1.1+k3s1", f"v1.1.1-rc{number}+k3s1", f"v1.1.1+k3s{number}"):
        assert parse(text) is None
