"""The modules under test, loaded from where the cluster uses them, and records as the notebooks make them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
NOTEBOOKS = ROOT / "notebooks"
ROLE = ROOT / "roles" / "notebooks"


def load(path: Path) -> Any:
    """A module from its file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def edge() -> Any:
    return load(NOTEBOOKS / "edge_notebooks.py")


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
