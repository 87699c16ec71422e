"""Running boards: can the cluster run on them?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .model import Place, Report


@dataclass(frozen=True)
class Limits:
    """Requirements of a board: the role's variables of the same names."""

    architectures: list[str]
    models: list[str]
    releases: list[str]
    memory_mb: int
    disk_mb: int


@dataclass(frozen=True)
class BoardInfo:
    """What a board reported; `problem` is set, and nothing else, if it was unreachable.

    `memory_mb` and `disk_mb` are MiB in total and MiB free.
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

    @classmethod
    def of(cls, data: dict[str, Any]) -> BoardInfo:
        """Board information from a dictionary that may contain more keys."""
        return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})


def check(boards: list[tuple[BoardInfo, Limits]], report: Report) -> None:
    """Report every board that is unreachable or does not meet its limits."""
    serials: dict[str, str] = {}
    for board, limits in boards:
        place = Place(board.host)
        if board.problem:
            report.add(
                place,
                "ansible_host",
                board.address,
                f"unreachable: {board.problem}",
                "check its power, its cable and its card, or exclude it with -l",
            )
            continue
        _check_board(board, limits, place, report)
        if board.serial and board.serial in serials:
            report.add(
                place,
                "serial",
                board.serial,
                f"{serials[board.serial]} has the same serial number: both addresses belong to the same board",
                "correct ansible_host of one of them",
            )
        serials.setdefault(board.serial, board.host)


def _check_board(board: BoardInfo, limits: Limits, place: Place, report: Report) -> None:
    if board.architecture not in limits.architectures:
        remedy = f"use a board and an image for {' or '.join(limits.architectures)} (preflight_architectures)"
        report.add(place, "architecture", board.architecture, "unsupported architecture", remedy)
    elif board.bits != 64:
        report.add(
            place,
            "architecture",
            f"{board.bits}-bit programs on a {board.architecture} kernel",
            "there are no 32-bit images for the workload",
            "flash a 64-bit Raspberry Pi OS",
        )
    if limits.models and not board.model.startswith(tuple(limits.models)):
        report.add(
            place,
            "model",
            board.model or "unknown",
            "unsupported model",
            f"use a {' or '.join(limits.models)}, or add this one to preflight_models",
        )
    if limits.releases and board.release not in limits.releases:
        report.add(
            place,
            "OS release",
            board.release or "unknown",
            f"not one of the supported releases ({', '.join(limits.releases)})",
            "flash a newer Raspberry Pi OS (flash_image_url)",
        )
    if board.memory_mb < limits.memory_mb:
        report.add(
            place,
            "memory",
            f"{board.memory_mb} MiB",
            f"less than {limits.memory_mb} MiB",
            "use a board with more, or lower preflight_memory_mb for this one",
        )
    if board.disk_mb < limits.disk_mb:
        report.add(
            place,
            "free disk",
            f"{board.disk_mb} MiB on {board.disk_path}",
            f"less than {limits.disk_mb} MiB",
            "use a larger card, or check that its root file system was expanded (df -h /)",
        )
