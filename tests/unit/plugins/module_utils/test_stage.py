"""The line that stays of a stage which is over."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.stage import Stage


@pytest.mark.parametrize(
    ("hosts", "given", "line"),
    [
        ("", {}, "Install k3s"),
        ("", {"note": "no hosts matched"}, "Install k3s: no hosts matched"),
        ("ab", {}, "Install k3s: a, b (no change)"),
        ("ab", {"changed": frozenset("ab")}, "Install k3s: a, b (changed)"),
        ("ab", {"changed": frozenset("ab"), "check": True}, "Install k3s: a, b (would change)"),
        ("ab", {"changed": frozenset("ab"), "failed": frozenset("b")}, "Install k3s: 2 hosts, failed: b"),
        ("abcde", {"failed": frozenset("abcde")}, "Install k3s: 5 hosts (failed)"),
    ],
)
def test_outcome(hosts: str, given: dict[str, Any], line: str) -> None:
    assert Stage("Install k3s", 0, None, hosts=frozenset(hosts), **given).outcome == line
