"""Boards that answer: are they what the cluster runs on?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .model import Place, Report


@dataclass(frozen=True)
class Limits:
    """What a board must have: the role's variables of the same names."""

    architectures: list[str]
    models: list[str]
    releases: list[str]
    memory_mb: int
    disk_mb: int
    clock_skew_s: float


@dataclass(frozen=True)
class Probe:
    """What a board told of itself; `problem` is set, and nothing else, if it could not be asked.

    `memory_mb` and `disk_mb` are MiB in total and MiB free; `clock_s` is by how many seconds its clock is surely
    ahead of the control node's (negative: behind), given that asking takes time itself.
    """

    host: str
    address: str
    problem: str | None = None
    architecture: str = ""
    bits: int = 64
    model: str = ""
    serial: str = ""
    release: str = ""
    memory_mb: int = 0
    disk_mb: int = 0
    disk_path: str = ""
    clock_s: float = 0.0

    @classmethod
    def of(cls, data: dict[str, Any]) -> Probe:
        """A probe from a dictionary that may hold more than is asked for."""
        return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})


def judge(probes: list[tuple[Probe, Limits]], report: Report) -> None:
    """Report every board that does not answer or lacks something."""
    serials: dict[str, str] = {}
    for probe, limits in probes:
        place = Place(probe.host)
        if probe.problem:
            report.add(
                place,
                "ansible_host",
                probe.address,
                f"doesn't answer: {probe.problem}",
                "look at its power, its cable and its card; or leave it out with -l",
            )
            continue
        _judge_board(probe, limits, place, report)
        if probe.serial and probe.serial in serials:
            report.add(
                place,
                "serial",
                probe.serial,
                f"{serials[probe.serial]} has the same serial number: both addresses lead to one board",
                "correct ansible_host of one of them",
            )
        serials.setdefault(probe.serial, probe.host)


def _judge_board(probe: Probe, limits: Limits, place: Place, report: Report) -> None:
    if probe.architecture not in limits.architectures:
        remedy = f"use a board and an image for {' or '.join(limits.architectures)} (preflight_architectures)"
        report.add(place, "architecture", probe.architecture, "not one of the architectures wanted", remedy)
    elif probe.bits != 64:
        report.add(
            place,
            "architecture",
            f"{probe.bits}-bit programs on a {probe.architecture} kernel",
            "there are no 32-bit images for the workload",
            "flash a 64-bit Raspberry Pi OS",
        )
    if limits.models and not probe.model.startswith(tuple(limits.models)):
        report.add(
            place,
            "model",
            probe.model or "unknown",
            "not one of the models wanted",
            f"use a {' or '.join(limits.models)}, or add this one to preflight_models",
        )
    if limits.releases and probe.release not in limits.releases:
        report.add(
            place,
            "OS release",
            probe.release or "unknown",
            f"not one of {', '.join(limits.releases)}",
            "flash a newer Raspberry Pi OS (flash_image_url)",
        )
    if probe.memory_mb < limits.memory_mb:
        report.add(
            place,
            "memory",
            f"{probe.memory_mb} MiB",
            f"less than {limits.memory_mb} MiB",
            "use a board with more, or lower preflight_memory_mb for this one",
        )
    if probe.disk_mb < limits.disk_mb:
        report.add(
            place,
            "free disk",
            f"{probe.disk_mb} MiB on {probe.disk_path}",
            f"less than {limits.disk_mb} MiB",
            "use a larger card, or look whether its root file system has grown (df -h /)",
        )
    if abs(probe.clock_s) > limits.clock_skew_s:
        direction = "ahead of" if probe.clock_s > 0 else "behind"
        report.add(
            place,
            "clock",
            f"{abs(probe.clock_s):.0f} s {direction} the control node",
            f"more than {limits.clock_skew_s:g} s: certificates would not be valid yet, or no longer",
            "look at `timedatectl` on both: has each of them a time server?",
        )
