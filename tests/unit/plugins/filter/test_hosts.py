"""Hosts with the same fact, in the order of the play."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.filter.hosts import hosts_with

HOSTVARS: dict[str, dict[str, Any]] = {
    "pi-03": {"image": {"path": "a"}, "wanted": ["x86_64", "tf:1"]},
    "pi-01": {"image": {"path": "a"}, "wanted": ["aarch64", "tf:1"]},
    "pi-02": {"image": {"path": "b"}, "wanted": ["x86_64", "tf:1"]},
    "skipped": {"image": {"skipped": True}, "wanted": None},
    "absent": {},
}


@pytest.mark.parametrize(
    ("fact", "value", "hosts"),
    [
        ("image.path", "a", ["pi-03", "pi-01"]),
        ("image.path", "c", []),
        ("wanted", ["x86_64", "tf:1"], ["pi-03", "pi-02"]),
        # An absent fact is no value that hosts share.
        ("wanted", None, []),
        ("image.path.more", "a", []),
    ],
)
def test_hosts_with_the_same_fact(fact: str, value: Any, hosts: list[str]) -> None:
    assert hosts_with(HOSTVARS, HOSTVARS, fact, value) == hosts
