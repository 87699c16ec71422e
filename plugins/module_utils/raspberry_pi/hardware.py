"""A board's hardware, from the text of its /proc files: model, serial number, throttling.

Runs on the board (Python 3.11 or newer), needs nothing but the standard library.
"""

from __future__ import annotations

import re

THROTTLED_BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}


def parse_cpuinfo(text: str) -> dict[str, str]:
    """The board's lines of /proc/cpuinfo: Model, Serial (the Hardware line is useless on any Pi)."""
    found = dict(re.findall(r"^(Model|Serial)\s*:[ \t]*(.*?)\s*$", text, flags=re.MULTILINE))
    return {key.lower(): value for key, value in found.items()}


def throttling(output: str) -> list[str]:
    """The problems that `vcgencmd get_throttled` reports, now or since boot."""
    match = re.search(r"throttled=0x([0-9a-fA-F]+)", output)
    bits = int(match[1], 16) if match else 0
    return [
        f"{what} {'now' if bits >> bit & 1 else 'since boot'}"
        for bit, what in THROTTLED_BITS.items()
        if bits >> bit & 1 or bits >> bit + 16 & 1
    ]


def edit_cmdline(text: str, tokens: list[str]) -> str:
    """The kernel command line with `tokens` appended where missing: one line, everything else in place.

    Raises ValueError for a file that is not a Pi's command line or selects the old cgroup hierarchy.
    """
    present = text.split()
    if not any(token.startswith("root=") for token in present):
        raise ValueError(
            "it has no root= token, so it is not the kernel command line of a Raspberry Pi: check it manually"
        )
    if "systemd.unified_cgroup_hierarchy=0" in present or "systemd.unified_cgroup_hierarchy=no" in present:
        raise ValueError(
            "it has systemd.unified_cgroup_hierarchy=0, Kubernetes needs cgroup v2: remove it manually and reboot"
        )
    missing = [token for token in tokens if token not in present]
    if not missing and len(text.splitlines()) == 1:
        return text
    return " ".join(present + missing) + "\n"
