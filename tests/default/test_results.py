"""The results on the control node: complete, plausible, and of the right boards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import nbformat
import pytest

from tests.support.cluster import Cluster
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def run(cluster: Cluster) -> Path:
    latest = cluster.path("cluster_results_dir") / "latest"
    assert latest.is_symlink()
    return latest.resolve()


@pytest.fixture(scope="module")
def timings(run: Path) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((run / "timings.json").read_text())
    return loaded


def test_timings_keep_their_schema(timings: list[dict[str, Any]]) -> None:
    jsonschema.validate(timings, json.loads((ROOT / "notebooks" / "timings.schema.json").read_text()))


def test_every_notebook_was_timed_once_in_every_profile(
    timings: list[dict[str, Any]], trained: list[str], predicted: list[str]
) -> None:
    seen = sorted((record["notebook"], record["profile"]) for record in timings)
    wanted = [("training", profile) for profile in trained] + [("prediction", profile) for profile in predicted]
    assert seen == sorted(wanted)


def test_each_notebook_ran_on_a_board_of_its_role(timings: list[dict[str, Any]], cluster: Cluster) -> None:
    for record in timings:
        assert record["host"] in cluster.hosts(record["notebook"])


def test_timings_are_plausible(timings: list[dict[str, Any]]) -> None:
    for record in timings:
        phases = {name: seconds for name, seconds in record["phases"].items() if seconds}
        assert all(0 < seconds < 900 for seconds in phases.values()), record
        assert ("fit" in phases) == (record["notebook"] == "training")
        assert ("load" in phases) == (record["notebook"] == "prediction")
        assert phases["import"] > 0.1


def test_accuracy_on_the_test_set(timings: list[dict[str, Any]]) -> None:
    for record in timings:
        assert record["test_accuracy"] >= 0.96, record


def test_prediction_is_faster_than_training(timings: list[dict[str, Any]], trained: list[str]) -> None:
    if "thesis" not in trained:
        pytest.skip("notebooks_profiles has no thesis")
    # Of `fast` both are mostly the import of TensorFlow, from a card that has to be read first or not.
    total = {record["notebook"]: record["total"] for record in timings if record["profile"] == "thesis"}
    assert total["prediction"] < total["training"]


def test_time_txt_has_the_form_of_the_original(run: Path) -> None:
    lines = (run / "time.txt").read_text().splitlines()
    assert lines[0].startswith("Training: ")
    assert lines[1].startswith("No training: ")
    assert float(lines[0].split(": ")[1]) > float(lines[1].split(": ")[1])


def executed(run: Path, word: str) -> list[Path]:
    return sorted(path for path in run.rglob("*.ipynb") if word in path.name)


def test_digit_in_the_executed_prediction_is_a_zero(run: Path, predicted: list[str]) -> None:
    notebooks = executed(run, "prediction")
    assert len(notebooks) == len(predicted)
    for path in notebooks:
        book = nbformat.read(path, as_version=4)
        text = json.dumps([cell.get("outputs", []) for cell in book.cells])
        assert "image/png" in text
        assert "<table" in text
        assert all(cell.get("execution_count") for cell in book.cells if cell.cell_type == "code")


def test_report_is_one_page_that_needs_nothing_else(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert "46.1" in page and "6.05" in page
    assert page.count("data:image/png;base64,") >= 1
    assert 'src="http' not in page
