"""Records as the notebooks make them: fixtures, for the conftest.py of a folder."""

from __future__ import annotations

from typing import Any

import edge_notebooks
import pytest

from tests.support import hostile


@pytest.fixture(scope="session")
def edge() -> Any:
    return edge_notebooks


@pytest.fixture
def record() -> dict[str, Any]:
    return hostile.timings()[0]


@pytest.fixture
def prediction(record: dict[str, Any]) -> dict[str, Any]:
    phases = {"import": 4.2, "data": 0.1, "build": 0.4, "fit": None, "save": None, "load": 0.03, "predict": 0.5}
    return record | {
        "notebook": "prediction",
        "host": "pi-03",
        "started": "2026-11-22T02:16:30Z",
        "phases": phases,
        "total": 5.23,
        "thesis_clock": 0.43,
    }
