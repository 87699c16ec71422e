"""What belongs to a control node, and what is too much for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.backup import control_node, seal


def test_what_is_no_inventory_ends_the_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_node, "FILES", 2)
    for name in "abc":
        (tmp_path / name).touch()
    with pytest.raises(seal.BackupError, match="more than 2 files"):
        control_node.files_below(tmp_path)
