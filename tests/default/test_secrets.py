"""Secrets are 0600 wherever they lie, and nowhere else."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from tests.support.cluster import Cluster


def test_secrets_on_the_control_node_are_for_their_owner_only(cluster: Cluster) -> None:
    directory = cluster.path("cluster_secrets_dir")
    public = {".pub"}
    wide = [
        str(path)
        for path in [directory, *directory.rglob("*")]
        if path.suffix not in public and path.name != "known_hosts" and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    assert wide == []


def test_secrets_on_boards_are_for_root_only(board: Any) -> None:
    listed = board.run(
        "find /etc/rancher /var/lib/rancher/k3s/server -xdev -type f "
        r"\( -name '*token*' -o -name config.yaml -o -name k3s.yaml -o -name '*.key' -o -name password \) "
        "-perm /077"
    )
    assert listed.stdout == ""


def test_token_is_in_no_journal(boards: dict[str, Any], cluster: Cluster) -> None:
    token = Path(cluster.path("cluster_secrets_dir") / "k3s-token").read_text().strip()
    assert len(token) >= 32
    for name, board in boards.items():
        # Searched here, not there: a command with the token in it would itself be logged by sudo.
        assert token not in board.check_output("journalctl --no-pager --quiet --output=cat"), name
