from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.paths import ROOT
from tools.words import RULES, Rule, check, covered, parse_rules

RULE = [Rule("judge", "check"), Rule("cut off", "interrupt"), Rule("books", "shared data")]


def found(text: str, path: str = "a.py") -> list[tuple[int, str]]:
    return [(each.line, each.word) for each in check(path, text, RULE)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fine\nJudge it, judge!\n", [(2, "Judge"), (2, "judge")]),
        ("# a run that is cut\n# off is continued\n", [(1, "cut # off")]),
        ("(books)", [(1, "books")]),
        ("judges it; prejudge; remove_judge; judge_it", []),
        ("user: books\n- default: books\nname: the books\n", [(3, "books")]),
        ('{"books", "the books", \'judge\'} --user=books', [(1, "books")]),
        ("/srv/books and books/weights, books.yml, $books, a-books, books-a", []),
    ],
)
def test_whole_words_are_found(text: str, expected: list[tuple[int, str]]) -> None:
    assert found(text) == expected


def test_code_in_markdown_is_ignored() -> None:
    text = "Text.\n\n```sh\njudge\n```\n\n    judge --all\n\n`judge` [it](judge) <!-- judge\n--> judge\n"
    assert found(text, "a.md") == [(10, "judge")]
    assert len(found(text, "a.txt")) == 6


def test_finding_names_place_and_remedy() -> None:
    assert str(next(check("docs/a.md", "x\nbooks", RULE))) == "docs/a.md:2: 'books': write shared data"


def test_rules_are_read() -> None:
    assert parse_rules("# note\n\nold, older -> new\n") == [Rule("old", "new"), Rule("older", "new")]


@pytest.mark.parametrize("line", ["old new", "old ->", "-> new"])
def test_broken_rule_is_named(line: str) -> None:
    with pytest.raises(ValueError, match=rf"{RULES}:2: "):
        parse_rules(f"# note\n{line}\n")


def test_pattern_without_file_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing/here"):
        covered(["tools/*.py", "nothing/here"])


def test_project_list_is_valid_and_covered_paths_are_clean() -> None:
    done = subprocess.run([sys.executable, "-m", "tools.words"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
