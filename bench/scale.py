"""Print what a board more costs, from records that tests/twenty leaves of runs with few boards and with many.

    python -m bench.scale results/scale-3-*.json results/scale-20-*.json
    python -m bench.scale --step "site again" results/scale-3-*.json results/scale-20-*.json

For 200 boards it goes on in a straight line: a lower limit, for some costs grow with the square (docs/scale.md).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table


def figures(record: list[dict[str, Any]], step: str) -> dict[str, float]:
    """What a record has of a step: seconds in all and by play, and what was measured; exits when it is not there."""
    found = [each for each in record if each["name"] == step and each["rc"] == 0]
    if not found:
        sys.exit(f"no step {step} that ended well: there are {', '.join(each['name'] for each in record)}")
    measured = {name: float(value) for name, value in found[-1]["figures"].items() if isinstance(value, (int, float))}
    if "boards" not in measured:
        sys.exit(f"the step {step} does not say of how many boards it is: take a record of tests/twenty")
    return {"in all": found[-1]["seconds"], **found[-1]["stages"], **measured}


def compare(few: list[dict[str, Any]], many: list[dict[str, Any]], step: str) -> dict[str, tuple[float, float, float]]:
    """By name: value with few boards, with many, and for each board more; exits when there are not more."""
    less, more = figures(few, step), figures(many, step)
    boards = more.pop("boards") - less.pop("boards")
    if boards <= 0:
        sys.exit("the second record must have more boards than the first")
    return {name: (less[name], more[name], (more[name] - less[name]) / boards) for name in less if name in more}


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("few", type=Path)
    parser.add_argument("many", type=Path)
    parser.add_argument("--step", default="site", help="site, site again, or predict (default: site)")
    options = parser.parse_args()
    few, many = (json.loads(path.read_text()) for path in (options.few, options.many))
    rows = compare(few, many, options.step)
    counts = [int(figures(record, options.step)["boards"]) for record in (few, many)]
    headings = (*(f"{count} boards" for count in counts), "a board more", "200 boards")
    table = Table(options.step, *(Column(each, justify="right") for each in headings), box=None, pad_edge=False)
    for name, (less, more, each) in rows.items():
        table.add_row(name, *(f"{value:.1f}" for value in (less, more, each, more + (200 - counts[1]) * each)))
    Console().print(table)


if __name__ == "__main__":
    main()
