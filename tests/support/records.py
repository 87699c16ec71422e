"""Records as the notebooks make them: fixtures, for the conftest.py of a folder."""

from __future__ import annotations

from typing import Any

import edge_notebooks
import pytest


@pytest.fixture(scope="session")
def edge() -> Any:
    return edge_notebooks


@pytest.fixture
def record() -> dict[str, Any]:
    phases = {"import": 4.3, "data": 2.5, "build": 0.1, "fit": 17.3, "save": 0.05, "load": None, "predict": 0.8}
    return {
        "notebook": "training",
        "profile": "thesis",
        "host": "pi-02",
        "started": "2026-11-22T02:15:30Z",
        "phases": phases,
        "total": 25.05,
        "thesis_clock": 17.4,
        "test_accuracy": 0.9712,
        "tensorflow": "2.21.0",
        "hardware": "User Mode Linux (virtual board), x86_64, 1 CPU",
        "inputs_digest": "ab" * 32,
        "weights_sha256": "cd" * 32,
    }


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
