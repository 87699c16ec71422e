"""What a board says of itself: model, serial number, memory, throttling, release, command line.

Runs on boards, also on those with a Python that is too old for k3s's roles: the standard library alone.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ansible_collections.edge_ai.cluster.plugins.module_utils import files

THROTTLED_BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}


def parse_cpuinfo(text: str) -> dict[str, str]:
    """The board's lines of /proc/cpuinfo: Model, Serial (the Hardware line is useless on any Pi)."""
    found = dict(re.findall(r"^(Model|Serial)\s*:[ \t]*(.*?)\s*$", text, flags=re.MULTILINE))
    return {key.lower(): value for key, value in found.items()}


def text_of(path: str | Path) -> str:
    """A small file's text without NULs (the device tree ends strings with one); empty when it does not exist."""
    return files.text_of(path).replace("\0", "\n").strip()


def hardware() -> dict[str, Any]:
    """Model and serial from the device tree, or from /proc/cpuinfo on a kernel without one; memory in MiB."""
    cpu = parse_cpuinfo(text_of("/proc/cpuinfo"))
    memory = re.search(r"^MemTotal:\s+(\d+) kB", text_of("/proc/meminfo"), flags=re.MULTILINE)
    return {
        "model": text_of("/proc/device-tree/model") or cpu.get("model", ""),
        "serial": text_of("/proc/device-tree/serial-number") or cpu.get("serial", ""),
        "memory_mb": int(memory[1]) // 1024 if memory else 0,
    }


def codename() -> str:
    """Name of the release of its system, such as trixie."""
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', text_of("/etc/os-release"), flags=re.MULTILINE))
    return release.get("VERSION_CODENAME", "")


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
