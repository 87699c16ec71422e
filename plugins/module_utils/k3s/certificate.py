"""When certificates end. Runs on boards too: the standard library alone."""

from __future__ import annotations

import base64
import calendar
import re
import time
from pathlib import Path
from typing import Any

# A certificate's validity: a sequence of two times, of two or of four digits for the year.
VALIDITY = re.compile(rb"\x30[\x1e\x20\x22](?:\x17\x0d|\x18\x0f)\d+Z(?:\x17\x0d|\x18\x0f)(\d+)Z")
DAY_S = 86400
#: At its start, k3s renews what ends within this time (seconds).
RENEWED_S = 120 * DAY_S
#: In k3s's data directory; not all of them are in use.
CERTIFICATES = ("server/tls/*.crt", "server/tls/etcd/*.crt", "agent/*.crt")


def end_of(text: str) -> float | None:
    """Unix time at which the first certificate in the text of a PEM file ends; None when there is none."""
    block = re.search(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END", text)
    try:
        found = VALIDITY.search(base64.b64decode(block.group(1))) if block else None
    except ValueError:  # a file that a power cut truncated
        found = None
    if not found:
        return None
    digits = found.group(1).decode()
    return calendar.timegm(time.strptime(digits if len(digits) == 14 else f"20{digits}", "%Y%m%d%H%M%S"))


def first_end(data: Path, now: float, started: float) -> dict[str, Any] | None:
    """The certificate below `data` that ends first, of those that k3s renews (no CA); `started` is when k3s was.

    One that was this old already when k3s was started is not renewed by another start: its CA ends soon too, or it is
    a file that this version does not use. It is only reported where no other ends soon.
    """
    files = [file for pattern in CERTIFICATES for file in data.glob(pattern) if "-ca." not in file.name]
    ends = [(end, str(file)) for file in files if (end := end_of(file.read_text(errors="replace"))) is not None]
    if not ends:
        return None
    soon = [each for each in ends if started and each[0] - now < RENEWED_S < each[0] - started]
    end, file = min(soon or ends)
    return {
        "ends": time.strftime("%Y-%m-%d", time.gmtime(end)),
        "days": int((end - now) // DAY_S),
        "file": file,
        "renewable": bool(soon),
    }
