"""Refuses words that the field has other words for: `python -m tools.words`.

tools/words.txt says which words, and what to write instead; `[tool.words]` in pyproject.toml lists the paths that are
covered. Code in Markdown, paths, identifiers and values of one word (`key: word`, `"word"`) are ignored: they are
changed where they are defined.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RULES = "tools/words.txt"

_CODE = re.compile(
    r"^( {0,3})```.*?^\1```|^(?: {4}|\t).*?$|`[^`\n]*`|\]\([^)\n]*\)|<!--.*?-->", re.MULTILINE | re.DOTALL
)
"""Code blocks, inline code, targets of links and comments of a Markdown text."""
_VALUE = re.compile(r"""^ *(?:- )?[\w-]+: [\w-]+$|(["'])[\w-]+\1""", re.MULTILINE)
"""A key of YAML with a value of one word, or one in quotes."""
_GAP = r"[\s#]+"
"""What is between two words of a phrase; a line of a comment may end there."""


@dataclass(frozen=True)
class Rule:
    """A word or phrase, and what to write instead."""

    word: str
    instead: str

    def pattern(self) -> re.Pattern[str]:
        """Matches the word as a word: not as part of a path or an identifier."""
        phrase = _GAP.join(re.escape(part) for part in self.word.split())
        return re.compile(rf"(?<![\w/.$=-]){phrase}(?![\w/]|-\w|\.\w|\()", re.IGNORECASE)


@dataclass(frozen=True)
class Finding:
    """A refused word in a file; lines count from 1."""

    path: str
    line: int
    word: str
    instead: str

    def __str__(self) -> str:
        """As a linter prints it."""
        return f"{self.path}:{self.line}: '{self.word}': write {self.instead}"


def parse_rules(text: str) -> list[Rule]:
    """The rules of a word list.

    Raises:
        ValueError: a line is neither empty, nor a comment, nor `word, word -> word`; its number is in the message.
    """
    rules = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        words, arrow, instead = line.partition("->")
        if not arrow or not words.strip() or not instead.strip():
            raise ValueError(f"{RULES}:{number}: {line!r}: write it as: refused, refused -> instead")
        rules += [Rule(word.strip(), instead.strip()) for word in words.split(",") if word.strip()]
    return rules


def check(path: str, text: str, rules: list[Rule]) -> Iterator[Finding]:
    """The refused words of one file, from its first line to its last."""
    # As many characters and lines as before: positions stay.
    text = (_CODE if path.endswith(".md") else _VALUE).sub(lambda code: re.sub(r"[^\n]", " ", code.group()), text)
    # Most words are in no file, and a search for a pattern takes a hundred times as long.
    folded = text.casefold()
    near = [rule for rule in rules if rule.word.casefold().split()[0] in folded]
    found = [(match.start(), match.group(), rule) for rule in near for match in rule.pattern().finditer(text)]
    for position, word, rule in sorted(found, key=lambda each: each[0]):
        yield Finding(path, text.count("\n", 0, position) + 1, " ".join(word.split()), rule.instead)


def covered(paths: list[str]) -> list[str]:
    """Files of the repository that the patterns name.

    Raises:
        ValueError: a pattern names no file.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    files = [name for name in listed if name and (ROOT / name).is_file() and not (ROOT / name).is_symlink()]
    for pattern in paths:
        if not any(fnmatch(name, pattern) for name in files):
            raise ValueError(f"pyproject.toml: tool.words.paths: {pattern}: no such file; correct or delete the line")
    return sorted(name for name in set(files) if any(fnmatch(name, pattern) for pattern in paths))


def main() -> int:
    """Print each refused word with its place; 1 if there is one, 2 if list or paths are wrong."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["words"]
    try:
        rules = parse_rules((ROOT / RULES).read_text())
        files = covered(settings["paths"])
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    findings = [each for name in files for each in check(name, (ROOT / name).read_text(encoding="utf-8"), rules)]
    for finding in findings:
        print(finding, file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
