"""Suggestions for unknown names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def distance(left: str, right: str) -> int:
    """Edits between two names; two swapped neighbours count as one (optimal string alignment)."""
    rows = [list(range(len(right) + 1))]
    for i, a in enumerate(left, 1):
        row = [i]
        for j, b in enumerate(right, 1):
            cost = min(rows[i - 1][j] + 1, row[j - 1] + 1, rows[i - 1][j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, rows[i - 2][j - 2] + 1)
            row.append(cost)
        rows.append(row)
    return rows[-1][-1]


def typo_of(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` is a typo of (two edits; one in a short name), if any."""
    allowed = 2 if len(name) > 6 else 1
    near = [(distance(name, each), each) for each in sorted(known) if abs(len(each) - len(name)) <= allowed]
    best = min(near, default=None)
    return best[1] if best and best[0] <= allowed else None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most similar to `name`, if one is similar."""
    names = sorted(known)
    return typo_of(name, names) or next(iter(difflib.get_close_matches(name, names, n=1, cutoff=0.75)), None)


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """A remedy: the nearest known name as a question, or `otherwise`."""
    best = nearest(name, known)
    return f"did you mean {best}?" if best else otherwise
