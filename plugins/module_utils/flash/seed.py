"""The seed of a card: identity, kernel command line, and access to the MBR and the FAT boot partition.

No Ansible and no privileges here: a card is a path, the boot partition is accessed with mtools at its offset.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

SECTOR = 512
FAT_TYPES = {0x0B, 0x0C, 0x0E}
SEED_FILES = ("user-data", "meta-data", "network-config", "host-key")
"""What cloud-init reads, and what the commands in user-data read and delete."""
LONGEST = 1 << 20
"""Bytes of a boot partition's file that are read: others may have made a card, and its files as long as they like."""

ELSEWHERE = (
    "A board gets an address in another network by playbooks/readdress.yml, while it runs at its present one "
    "(docs/operations.md, Move to another network)"
)
"""What to do about a board whose address alone differs from the inventory."""


class SeedError(Exception):
    """The image or the seed cannot be used; the text says what to do."""


@dataclass(frozen=True)
class Partition:
    """A primary partition; offset and size in bytes."""

    offset: int
    size: int
    type: int


def instance_id(hostname: str, user_data: str, network_config: str, cmdline: list[str], image: str) -> str:
    """Identity of a seeded card: same inputs, same id; cloud-init sets a board up again when it changes.

    `image` is the digest the operator pinned or, for an unpinned image, its URL.
    """
    inputs = json.dumps([user_data, network_config, cmdline, image])
    return f"{hostname}-{hashlib.sha256(inputs.encode()).hexdigest()[:12]}"


def without_login_key(user_data: str) -> str:
    """user-data without the public key that logs in: a rotated key does not make a board another one."""
    return re.sub(r"^( *- )(ssh|ecdsa|sk)-\S+ \S+.*$", r"\1(login key)", user_data, flags=re.MULTILINE)


def meta_data(identity: str, parts: dict[str, str]) -> str:
    """meta-data with the instance-id and, for users and for `differences`, a short digest of each input."""
    lines = [f"instance-id: {identity}"]
    lines += [f"edge-ai-{name}: {digest(value)}" for name, value in sorted(parts.items())]
    return "\n".join(lines) + "\n"


def digest(text: str) -> str:
    """First 12 hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def parse_meta_data(text: str) -> dict[str, str]:
    """`key: value` lines of a meta-data file; cloud-init's key is instance-id, with a hyphen."""
    # Without an expression for the whole line: a card or board can make it so that one takes hours.
    found = (line.partition(":") for line in text.split("\n"))
    return {key: value.strip(" ") for key, _, value in found if value.strip() and re.fullmatch(r"[A-Za-z0-9_-]+", key)}


def differences(ours: dict[str, str], theirs: dict[str, str]) -> list[str]:
    """Names of the inputs in which two meta-data differ, as `meta_data` recorded them."""
    prefix = "edge-ai-"
    names = {key for key in ours.keys() | theirs.keys() if key.startswith(prefix)}
    return sorted(name.removeprefix(prefix) for name in names if ours.get(name) != theirs.get(name))


def edit_cmdline(text: str, tokens: list[str]) -> str:
    """The kernel command line with `tokens` appended where missing: one line, every token of the image kept.

    Raises SeedError for an image that cloud-init does not set up (bookworm's own firstboot script).
    """
    present = text.split()
    if not any(token.startswith("root=") for token in present):
        raise SeedError("cmdline.txt of the image has no root= token: this is not a Raspberry Pi OS image")
    if any(token.startswith("init=") and token.endswith("firstboot") for token in present):
        raise SeedError(
            "the image starts its own firstboot script (Raspberry Pi OS bookworm or older), cloud-init would not read "
            "the seed; set flash_image_url to a trixie image of 2025-11-24 or later"
        )
    return " ".join(present + [token for token in tokens if token not in present]) + "\n"


def partitions(mbr: bytes) -> list[Partition]:
    """The used primary partitions of a master boot record (first 512 bytes of a disk)."""
    if len(mbr) < SECTOR or mbr[510:512] != b"\x55\xaa":
        return []
    found = []
    for entry in range(446, 510, 16):
        kind = mbr[entry + 4]
        start, sectors = struct.unpack_from("<II", mbr, entry + 8)
        if kind and sectors:
            found.append(Partition(start * SECTOR, sectors * SECTOR, kind))
    return found


def boot_partition(path: Path) -> Partition | None:
    """The FAT partition a card or image starts with, or None when there is none."""
    with path.open("rb") as disk:
        found = partitions(disk.read(SECTOR))
    return found[0] if found and found[0].type in FAT_TYPES else None


def _mtools(command: list[str]) -> tuple[int, bytes, bytes]:
    """Run an mtools program: its exit status, what it prints (LONGEST bytes, then it is ended), and its errors.

    The user's mtoolsrc is ignored and FAT times are fixed: same seed, same bytes.
    """
    env = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "MTOOLSRC": "/dev/null",
        "MTOOLS_SKIP_CHECK": "1",
        "SOURCE_DATE_EPOCH": "1700000000",
    }
    try:
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
            ) as process,
        ):
            assert process.stdout
            text = process.stdout.read(LONGEST)
            if len(text) == LONGEST:
                process.kill()
            code = process.wait()
            errors.seek(0)
            return code, text, errors.read(LONGEST)
    except FileNotFoundError as error:
        raise SeedError(f"{command[0]} is missing on the control node: install the package mtools") from error


def read_boot_file(card: Path, boot: Partition, name: str) -> str | None:
    """Text of a file in the root of a card's boot partition, or None when it does not exist, or is too long."""
    code, text, _ = _mtools(["mtype", "-i", f"{card}@@{boot.offset}", f"::{name}"])
    return text.decode(errors="replace") if code == 0 else None


def write_boot_file(image: Path, boot: Partition, name: str, text: str, scratch: Path) -> None:
    """Write a file to the root of an image's boot partition.

    Raises SeedError when mtools fails, for example because the partition is full.
    """
    source = scratch / name
    source.write_text(text, encoding="utf-8")
    source.chmod(0o600)
    code, _, errors = _mtools(["mcopy", "-i", f"{image}@@{boot.offset}", "-o", str(source), f"::{name}"])
    source.unlink()
    if code != 0:
        reason = errors.decode(errors="replace").strip()
        raise SeedError(f"{name} cannot be written to the image's boot partition: {reason}")


def card_meta_data(card: Path) -> dict[str, str]:
    """The meta-data a card was seeded with; empty for a blank, unreadable or never seeded card."""
    try:
        boot = boot_partition(card)
    except OSError:
        return {}
    if boot is None:
        return {}
    return parse_meta_data(read_boot_file(card, boot, "meta-data") or "")
