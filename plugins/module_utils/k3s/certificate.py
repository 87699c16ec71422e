"""When a certificate ends. Runs on boards too: the standard library alone."""

from __future__ import annotations

import base64
import calendar
import re
import time

# A certificate's validity: a sequence of two times, of two or of four digits for the year.
VALIDITY = re.compile(rb"\x30[\x1e\x20\x22](?:\x17\x0d|\x18\x0f)\d+Z(?:\x17\x0d|\x18\x0f)(\d+)Z")


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
