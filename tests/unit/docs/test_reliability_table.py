"""docs/reliability.md: every fault has an outcome, and a test that exists."""

import re

import pytest

from tests.support.paths import ROOT

LINES = (ROOT / "docs/reliability.md").read_text().splitlines()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in LINES if line.startswith("| ")][1:]
NAMES = [
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_fault_has_an_outcome_and_a_test(row: list[str]) -> None:
    _, outcome, tests = row
    assert len(outcome) > 7
    named = re.findall(r"`([^`]+)`", tests)
    assert named and all(any(part in name for name in NAMES) for part in named), tests
