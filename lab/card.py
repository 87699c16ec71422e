"""A board's card: a file laid out as an SD card (MBR, FAT boot partition, ext4 root)."""

import os
import re
import secrets
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab import cmdline
from lab.command import run
from lab.errors import LabError

SECTOR = 512
_MBR_DISK_ID = 440
_MBR_TABLE = 446
_MTOOLS = {**os.environ, "MTOOLS_SKIP_CHECK": "1"}


@dataclass(frozen=True)
class Layout:
    """Where things are on a card, in bytes."""

    boot_start: int
    root_start: int
    root_size: int


def layout(card: Path) -> Layout:
    """Read the partition table.

    Raises:
        LabError: there is no card, or it holds no Raspberry Pi image.
    """
    try:
        with card.open("rb") as handle:
            mbr = handle.read(SECTOR)
    except FileNotFoundError:
        raise LabError(f"{card}: there is no card in this board; flash one (site.yml does)") from None
    if len(mbr) < SECTOR or mbr[510:512] != b"\x55\xaa":
        raise LabError(f"{card}: the card holds no partition table; flash it (site.yml does)")
    boot, root = (struct.unpack_from("<II", mbr, _MBR_TABLE + 16 * index + 8) for index in (0, 1))
    if not boot[0] or not root[0]:
        raise LabError(f"{card}: the card has no boot and root partitions; flash it (site.yml does)")
    return Layout(boot[0] * SECTOR, root[0] * SECTOR, root[1] * SECTOR)


def read_boot_file(card: Path, name: str) -> str:
    """Text of a file in the root of the boot partition.

    Raises:
        LabError: no card, no boot partition, no such file.
    """
    where = f"{card}@@{layout(card).boot_start}"
    result = subprocess.run(["mtype", "-i", where, f"::{name}"], capture_output=True, env=_MTOOLS)
    if result.returncode:
        said = result.stderr.decode(errors="replace").strip()
        raise LabError(f"{card}: no {name} on the boot partition: {said}")
    return result.stdout.decode(errors="replace")


def copy_boot_file(card: Path, name: str, target: Path) -> None:
    """Copy a file from the root of the boot partition.

    Raises:
        LabError: no card, no boot partition, no such file.
    """
    run("mcopy", "-o", "-n", "-i", f"{card}@@{layout(card).boot_start}", f"::{name}", target, env=_MTOOLS)


def write_boot_file(card: Path, name: str, text: str) -> None:
    """Replace a file in the root of the boot partition."""
    with tempfile.TemporaryDirectory(prefix="edge-lab-") as folder:
        source = Path(folder) / name
        source.write_text(text)
        run("mcopy", "-o", "-i", f"{card}@@{layout(card).boot_start}", source, f"::{name}", env=_MTOOLS)


def is_seeded(card: Path) -> bool:
    """Whether the card has a seed: the image's own meta-data names no instance."""
    try:
        return re.search(r"^instance-id:\s*\S", read_boot_file(card, "meta-data"), re.MULTILINE) is not None
    except LabError:
        return False


def first_boot(card: Path) -> bool:
    """Do what the initramfs of Raspberry Pi OS does when cmdline.txt says `resize`.

    The root partition grows to the end of the card, the disk gets a new id, and fstab and cmdline.txt follow.
    The latter loses its `resize` last, so that an interrupted run is done again. (The file system itself grows
    in the guest, as on a board.)

    Returns:
        Whether there was anything to do.
    """
    text = read_boot_file(card, "cmdline.txt")
    if "resize" not in text.split():
        return False
    place = layout(card)
    disk_id = secrets.token_hex(4)
    _rewrite_fstab(card, place, disk_id)
    with card.open("r+b") as handle:
        sectors = min(card.stat().st_size // SECTOR, 2**32 - 1) - place.root_start // SECTOR
        if sectors * SECTOR > place.root_size:
            handle.seek(_MBR_TABLE + 16 + 12)
            handle.write(struct.pack("<I", sectors))
        handle.seek(_MBR_DISK_ID)
        handle.write(struct.pack("<I", int(disk_id, 16)))
    write_boot_file(card, "cmdline.txt", cmdline.without_resize(text, disk_id))
    return True


def _rewrite_fstab(card: Path, place: Layout, disk_id: str) -> None:
    where = f"{card}?offset={place.root_start}"
    fstab = run("debugfs", "-R", "cat /etc/fstab", where)
    if "PARTUUID=" not in fstab:
        raise LabError(f"{card}: /etc/fstab of the root partition names no PARTUUID")
    with tempfile.TemporaryDirectory(prefix="edge-lab-") as folder:
        new = Path(folder) / "fstab"
        new.write_text(re.sub(r"PARTUUID=[0-9a-fA-F]{8}-", f"PARTUUID={disk_id}-", fstab))
        new.chmod(0o644)
        run("debugfs", "-w", "-f", "-", where, input=f"rm /etc/fstab\nwrite {new} /etc/fstab\n")
    if disk_id not in run("debugfs", "-R", "cat /etc/fstab", where):
        raise LabError(f"{card}: /etc/fstab of the root partition could not be written")
