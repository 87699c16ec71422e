"""A board's hardware, from the text of its /proc files: model, revision code, memory, throttling.

Runs on the board (Python 3.11 or newer), needs nothing but the standard library.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

RAM_MB = {0: 256, 1: 512, 2: 1024, 3: 2048, 4: 4096, 5: 8192, 6: 16384}
SOC = {0: "BCM2835", 1: "BCM2836", 2: "BCM2837", 3: "BCM2711", 4: "BCM2712"}
TYPES = {
    0x08: "3B", 0x0D: "3B+", 0x0E: "3A+", 0x0A: "CM3", 0x10: "CM3+", 0x11: "4B", 0x12: "Zero 2 W", 0x13: "400",
    0x14: "CM4", 0x15: "CM4S", 0x17: "5", 0x18: "CM5", 0x19: "500",
}  # fmt: skip
THROTTLED_BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}


@dataclass(frozen=True)
class Revision:
    """A decoded new-style revision code; `ram_mb` in MiB."""

    type: str
    soc: str
    ram_mb: int
    board_revision: int


def decode_revision(code: str) -> Revision | None:
    """Decode a revision code such as c03114; None for an old-style, empty or unknown one."""
    try:
        bits = int(code, 16)
    except ValueError:
        return None
    if not bits >> 23 & 1:
        return None
    kind = bits >> 4 & 0xFF
    return Revision(
        type=TYPES.get(kind, f"type {kind:#04x}"),
        soc=SOC.get(bits >> 12 & 0xF, "unknown"),
        ram_mb=RAM_MB.get(bits >> 20 & 0x7, 0),
        board_revision=bits & 0xF,
    )


def parse_cpuinfo(text: str) -> dict[str, str]:
    """The board's lines of /proc/cpuinfo: Model, Revision, Serial (the Hardware line is useless on any Pi)."""
    found = dict(re.findall(r"^(Model|Revision|Serial)\s*:[ \t]*(.*?)\s*$", text, flags=re.MULTILINE))
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
