"""Texts that may be shown to strangers: without addresses, names, serial numbers, keys and tokens."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

#: Colours of a terminal, and what else moves its cursor.
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PATTERNS = (
    # What has other characters than letters and digits in it, and so is not known by its length below.
    (re.compile(r"-----BEGIN [A-Z0-9 ]+-----[\s\S]*?(?:-----END [A-Z0-9 ]+-----|\Z)"), "<key>"),
    (re.compile(r"\beyJ[\w-]+(?:\.[\w-]+)+|\$argon2[a-z]*\$\S+"), "<key>"),
    (re.compile(r"\b([a-z][a-z0-9+.-]*://)[^/\s\"']+"), r"\1<host>"),
    (re.compile(r"\b[\w.+-]+@[\w.-]+"), "<address>"),
    (re.compile(r"\b[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}\b|\b[0-9A-Fa-f]{4}(\.[0-9A-Fa-f]{4}){2}\b"), "<address>"),
    (re.compile(r"(?<![\d.])(?!127\.)\d{1,3}(\.\d{1,3}){3}(?!\d|\.\d)"), "<address>"),
    (re.compile(r"\bSHA256:\S+|\bK10\S+|\bssh-[a-z0-9-]+ AAAA\S+"), "<key>"),
    (re.compile(r"\b[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b|\b[0-9A-Fa-f]{12,}\b"), "<id>"),
    (re.compile(r"\b(?=\w*\d)[A-Za-z0-9]{24,}\b"), "<key>"),
    (re.compile(r"/(home|Users)/[^/\s]+"), "<home>"),
    # A name with domains, but no file, no unit and no module of Python.
    (
        re.compile(
            r"\b(?:[A-Za-z0-9-]+\.)+"
            r"(?:(?i:local|lan|home|internal|intern|box|arpa|com|net|org|edu|gov|info|dev|io|me)|[a-z]{2})\b"
            r"(?<!\.py)(?<!\.sh)(?<!\.md)(?<!\.so)(?<!\.gz)(?<!\.xz)(?<!\.k8s\.io)"
        ),
        "<host>",
    ),
)
#: The longest text (characters): with one of a hundred thousand, which a board may send, the patterns take minutes.
LONGEST = 4000
_COLONS = re.compile(r"(?<![\w.])[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%\w+)?(?!\w)")


def _shown(text: str) -> str:
    """The text without what is not seen: control characters, and those that turn its direction or have no width.

    A name or an address with one of them in it would look as before, and be found by no pattern.
    """
    return "".join(
        one
        for one in _COLOUR.sub("", text)
        if one <= "\uffff" and (one == "\n" or one.isprintable() or unicodedata.category(one) == "Zs")
    )


def _address6(match: re.Match[str]) -> str:
    """A word with colons: an address, or a time of day."""
    try:
        ipaddress.ip_address(match[0].partition("%")[0].rstrip("."))
    except ValueError:
        return match[0]
    return "<address>"


def redact(value: Any, known: Iterable[str] = ()) -> Any:
    """The same lists and dictionaries (values, not keys), with each text redacted.

    `known` are words to hide wherever they stand; those of one or two letters would hide half of a text.
    """
    words = sorted({str(word) for word in known if len(str(word)) > 2}, key=len, reverse=True)
    either = "|".join(rf"(?<![\w-]){re.escape(word)}(?![\w-])" for word in words)
    hidden = re.compile(either, re.IGNORECASE) if words else None

    def text(found: str) -> str:
        if len(found) > LONGEST:
            # Half of a word would not be known for what it is.
            found = f"{found[:LONGEST].rsplit(None, 1)[0][: LONGEST - 100]} ..."
        found = _shown(found)
        if hidden:
            found = hidden.sub("<name>", found)
        for pattern, instead in _PATTERNS:
            found = pattern.sub(instead, found)
        return _COLONS.sub(_address6, found)

    def any_of(found: Any) -> Any:
        if isinstance(found, str):
            return text(found)
        if isinstance(found, dict):
            return {key: any_of(each) for key, each in found.items()}
        if isinstance(found, list | tuple):
            return [any_of(each) for each in found]
        return found

    return any_of(value)
