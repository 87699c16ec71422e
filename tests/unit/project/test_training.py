"""What bench/training.py makes of trainings, and which part of the notebook it measures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bench import training, training_once
from bench.speeds import Figures


def result(import_s: float, fit_s: float) -> dict[str, Any]:
    seconds = {"import": import_s, "fit": fit_s}
    return {"processor": seconds, "clock": {name: 2 * each for name, each in seconds.items()}, "accuracy": 0.97}


def test_ratios_are_with_and_without_the_import_that_both_have() -> None:
    figures = Figures()
    for _ in range(2):
        training.add(figures, 2, {"thesis": result(4, 12), "fast": result(2, 3)})
    values = {name: figure.values for name, figure in figures.by_name.items()}
    assert values["2 threads, thesis, total, processor"] == [16, 16]
    assert values["2 threads, fast, total, clock"] == [10, 10]
    assert values["2 threads, fast / thesis, processor"] == [round(5 / 16, 3)] * 2
    assert values["2 threads, fast / thesis without import, clock"] == [0.25, 0.25]


def program(path: Path, code: str) -> Path:
    """A program in place of Python."""
    path.write_text(f"#!/bin/sh\n{code}\n")
    path.chmod(0o755)
    return path


def test_training_has_as_many_threads_and_no_more_processors(tmp_path: Path) -> None:
    python = program(
        tmp_path / "python",
        'echo "{\\"threads\\": $TF_NUM_INTRAOP_THREADS, \\"processors\\": $(nproc), \\"of\\": \\"$3\\"}"',
    )
    for threads in (1, 2, 4):
        found = training.train(python, tmp_path, "fast", threads)
        assert found == {"threads": threads, "processors": min(threads, len(os.sched_getaffinity(0))), "of": "fast"}


def test_training_that_fails_ends_the_measurement_with_its_error(tmp_path: Path) -> None:
    python = program(tmp_path / "python", "echo no such data set >&2; exit 3")
    with pytest.raises(SystemExit, match=r"training of fast failed \(exit status 3\): no such data set"):
        training.train(python, tmp_path, "fast", 1)


def test_what_is_measured_ends_with_the_test() -> None:
    cells = training_once.cells()
    assert list(cells) == ["parameters", "helpers", "import", "data", "build", "fit", "save", "test"]
