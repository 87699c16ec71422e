"""docs/security.md: every point has a state and a reason, and the tests that it names exist."""

import re

import pytest

from tests.support.paths import ROOT

LINES = (ROOT / "docs/security.md").read_text().splitlines()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in LINES if line.startswith("| ")][1:]
TESTS = [path for path in (ROOT / "tests").rglob("test_*.py") if path.name != "test_security_table.py"]
NAMES = [path.name for path in TESTS] + [
    name for path in TESTS for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_point_has_a_state_a_reason_and_tests_that_exist(row: list[str]) -> None:
    point, state, reason, tests = row
    assert re.match(r"on\b|off\b|not applicable$|one credential$", state), point
    assert len(reason) > 10
    for part in re.findall(r"`([^`]+)`", tests):
        assert any(part in name for name in NAMES), f"{point}: no test has {part} in its name"
    assert tests or state in ("off", "not applicable"), f"{point} is on, but no test shows it"
