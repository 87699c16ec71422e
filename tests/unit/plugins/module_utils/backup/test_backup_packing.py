"""Files that change while they are packed."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.backup import packing


@pytest.mark.parametrize("whole", [64 << 20, 1000])
def test_a_file_that_changes_each_time_fails_the_backup(
    export: Path, whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "WHOLE", whole)
    monkeypatch.setattr(packing.time, "sleep", lambda seconds: None)
    ticks = iter(range(10_000))
    plain = os.fstat

    def fstat(descriptor: int) -> Any:
        found = list(plain(descriptor))
        return type(
            "S", (), {"st_mode": found[0], "st_uid": 0, "st_gid": 0, "st_size": found[6], "st_mtime_ns": next(ticks)}
        )()

    monkeypatch.setattr(packing.os, "fstat", fstat)
    packer = packing.Packer(io.BytesIO())
    with pytest.raises(packing.Torn, match="data/x"):
        packer.path(export / "weights/fast/model.weights.h5", "data/x")
