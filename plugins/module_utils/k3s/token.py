"""Tokens of k3s: K10<SHA-256 of the CA>::<user>:<password>, or the password alone."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

#: Of one line, and of characters that a file, a header and a message can hold.
_FULL = re.compile(r"K10([0-9a-f]{64})::([!-9;-~]+):([!-~]+)")
#: Characters of the longest one.
_LONGEST = 1000


@dataclass(frozen=True)
class Token:
    """The full form of a token, in its parts."""

    ca_sha256: str
    user: str
    password: str = field(repr=False)


def parse(text: str) -> Token | None:
    """The parts of a token in its full form, None for anything else. White space around it does not count."""
    found = _FULL.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    return Token(*found.groups()) if found else None


def password(text: str) -> str:
    """The password in a token of either form."""
    token = parse(text)
    return token.password if token else text.strip()
