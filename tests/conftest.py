"""Options of the chains, tests/lifecycle and tests/three-servers."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--begin",
        choices=("here", "finished"),
        default="here",
        help="what a chain begins with: what there is in the lab (default), or a finished cluster from its snapshot, "
        "which is made when there is none",
    )
