"""May this card be overwritten? Every reason why not, at once, each with a remedy.

The facts are plain data (`BlockFacts`, `FileFacts`), read by `read_block_facts` and `read_file_facts` without opening
anything for writing; `refuse_block` and `refuse_file` check them. Sizes are in bytes.
"""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..command import MISSING, run
from ..files import free_at

BY_ID = Path("/dev/disk/by-id")
# Signatures of a member of a volume group, array or pool: the disk is in use although nothing is mounted from it.
MEMBER_TYPES = {"LVM2_member", "linux_raid_member", "zfs_member", "crypto_LUKS", "bcache", "ceph_bluestore", "swap"}
SYSTEM_MOUNTS = {"/", "/boot", "/boot/efi", "/boot/firmware", "/usr", "/var", "/home"}
LSBLK_COLUMNS = "NAME,KNAME,PATH,TYPE,TRAN,SUBSYSTEMS,RO,RM,SIZE,SERIAL,MODEL,FSTYPE,LABEL,MOUNTPOINTS"


@dataclass(frozen=True)
class BlockFacts:
    """A block device as the kernel shows it; `lsblk` is its entry of lsblk --json, with children."""

    path: str
    resolved: str
    exists: bool = True
    is_block: bool = True
    is_accessible: bool = True
    lsblk: dict[str, Any] = field(default_factory=dict)
    has_partition_file: bool = False
    holders: tuple[str, ...] = ()
    slaves: tuple[str, ...] = ()
    by_id: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileFacts:
    """A card that is an image file, for a virtual board."""

    path: str
    absolute: bool = True
    directory_exists: bool = True
    directory_writable: bool = True
    exists: bool = False
    is_symlink: bool = False
    is_regular: bool = True
    size: int = 0
    is_card: bool = False
    free_bytes: int = 0
    users: tuple[str, ...] = ()


def is_block_path(path: str) -> bool:
    """Whether a flash_card is a device rather than an image file."""
    return path.startswith("/dev/") and not path.startswith("/dev/shm/")


def is_link_of_card(path: str) -> bool:
    """Whether a flash_card is the link of one card: of a built-in reader, which has none of its own."""
    return path.startswith(f"{BY_ID}/mmc-")


def _tree(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node] + [leaf for child in node.get("children") or [] for leaf in _tree(child)]


def _mounts(node: dict[str, Any]) -> list[str]:
    return [mount for mount in node.get("mountpoints") or [] if mount]


def has_card(facts: BlockFacts) -> bool:
    """Whether there is a device, and a card in it: an empty reader is a device without bytes."""
    return facts.exists and facts.is_block and int(facts.lsblk.get("size") or 0) > 0


def named_content(facts: BlockFacts) -> list[str]:
    """File systems with a name, which a card from the shop seldom has: they may hold something."""
    parts = [part for part in _tree(facts.lsblk) if part.get("label")]
    return [re.sub(r"[^ -~]", "?", f"{part['label']} ({part.get('fstype') or 'unknown'})") for part in parts]


def refuse_block(
    facts: BlockFacts, confirmed: str, image_bytes: int, max_bytes: int, removable: bool = True
) -> list[str]:
    """Reasons not to write to a block device, all of them; empty when it may be overwritten.

    `confirmed` is the operator's flash_card_serial, `image_bytes` is 0 while the image is unknown; `removable` is false
    for a disk that a board boots from.
    """
    candidates = (
        f"; available cards: {', '.join(facts.candidates)}"
        if facts.candidates
        else "; no SD card or USB disk is connected"
    )
    if not facts.exists:
        # A reader on USB has its link with or without a card; a built-in one has a link for each card.
        if is_link_of_card(facts.path):
            what = "insert that card (a built-in reader has another link for each one)"
        else:
            what = "connect the card reader" if Path(facts.path).name.startswith("usb-") else "insert the card"
        return [f"{facts.path} does not exist: {what}, or correct flash_card{candidates}"]
    if not facts.is_block:
        return [f"{facts.path} is not a block device: set flash_card to a link in {BY_ID}{candidates}"]
    if not has_card(facts):
        return [f"{facts.path} is a reader without a card: insert the card, up to the stop"]
    errors: list[str] = []
    node = facts.lsblk
    name = Path(facts.resolved).name
    kind = node.get("type") or "unknown"

    if not facts.path.startswith(f"{BY_ID}/"):
        better = f"set flash_card: {facts.by_id[0]}" if facts.by_id else f"set flash_card to a link in {BY_ID}"
        errors.append(f"{facts.path} may be another disk after the next boot: {better}")
    if kind != "disk" or facts.has_partition_file:
        errors.append(f"{facts.resolved} is a {kind}, not a whole disk: set flash_card to the disk of an SD card")
    if re.match(r"(loop|ram|zram|dm-|md|sr|nbd|rbd|drbd|fd)\d*", name):
        errors.append(
            f"{facts.resolved} is not a physical disk ({name}): a virtual board's card is its image file, not a device"
        )
    if re.search(r"(boot\d|rpmb)$", name):
        errors.append(f"{facts.resolved} is a boot area of an eMMC: set flash_card to the disk itself")

    mounted = [(str(part.get("path")), mount) for part in _tree(node) for mount in _mounts(part)]
    of_system = sorted(mount for _, mount in mounted if mount in SYSTEM_MOUNTS)
    if of_system:
        errors.append(f"{facts.resolved} is a disk of the running system ({', '.join(of_system)}): choose another")
    for path, mount in mounted if not of_system else []:
        if mount == "[SWAP]":
            errors.append(f"{path} is in use as swap: swapoff {path}, if this really is the card")
        else:
            errors.append(f"{path} is mounted at {mount}: umount {mount}, if this really is the card")
    for part in _tree(node):
        if part.get("fstype") in MEMBER_TYPES and not _mounts(part):
            errors.append(f"{part.get('path')} is a {part['fstype']}: erase it (wipefs -a) if this really is the card")
    if facts.holders or facts.slaves:
        users = ", ".join(sorted({*facts.holders, *facts.slaves}))
        errors.append(f"{facts.resolved} is part of {users} (LVM, RAID or device mapper): choose another disk")

    bus = node.get("tran") or ""
    subsystems = str(node.get("subsystems") or "").split(":")
    if bus not in {"usb", "mmc"} and not {"usb", "mmc", "mmc_host"} & set(subsystems):
        errors.append(
            f"{facts.resolved} is on {bus or 'an unknown bus'}, a card must be on usb or mmc: choose another disk"
        )
    elif removable and bus == "usb" and node.get("rm") in (False, "0", 0):
        model = " ".join(str(node.get("model") or "without a name").split())
        errors.append(
            f"{facts.resolved} is a USB disk ({model}), not a card in a reader: set flash_card to the reader. If a "
            f"board boots from this disk, set flash_card_removable: false for it"
        )
    if not facts.is_accessible:
        errors.append(
            f"{facts.resolved} may not be written by this user: leave flash_become unset, so that sudo is used"
        )
    if node.get("ro") in (True, "1", 1):
        errors.append(f"{facts.resolved} is read-only: move the card's lock slider")

    size = int(node.get("size") or 0)
    if size < image_bytes:
        errors.append(f"{facts.resolved} has {size} bytes, the image needs {image_bytes}: use a bigger card")
    if size > max_bytes:
        errors.append(
            f"{facts.resolved} has {size} bytes, more than flash_card_max_bytes ({max_bytes}): "
            f"raise flash_card_max_bytes for this host if this really is the card"
        )

    serial, model = str(node.get("serial") or "").strip(), str(node.get("model") or "").strip()
    actual = serial or model
    if not actual:
        errors.append(
            f"{facts.resolved} reports neither serial nor model, so it cannot be confirmed: use another reader"
        )
    elif not confirmed:
        errors.append(f'it is not confirmed: check the reader ({model}), then set flash_card_serial: "{actual}"')
    elif confirmed != actual:
        errors.append(
            f'its serial is "{actual}" ({model}), flash_card_serial is "{confirmed}": '
            f"insert the right card, or correct flash_card_serial"
        )
    return errors


def refuse_file(facts: FileFacts, card_bytes: int, image_bytes: int, need_bytes: int, overwrite: bool) -> list[str]:
    """Reasons not to make an image file the card, all of them; empty when it may be (over)written.

    `card_bytes` is the size the file gets, `need_bytes` the disk space it allocates now, `overwrite` the
    operator's confirmation that content which is not a card may be overwritten.
    """
    errors: list[str] = []
    directory = Path(facts.path).parent
    if not facts.absolute:
        errors.append(f"{facts.path} is not an absolute path: write flash_card from the root, or with cluster_root")
    if facts.is_symlink:
        errors.append(f"{facts.path} is a symbolic link: set flash_card to the file itself")
    elif facts.exists and not facts.is_regular:
        errors.append(f"{facts.path} is not a regular file: set flash_card to a file, or to a link in {BY_ID}")
    elif facts.exists and facts.size and not facts.is_card and not overwrite:
        errors.append(f"{facts.path} contains something that is not a card image: delete it, or correct flash_card")
    if facts.users:
        errors.append(f"{facts.path} is in use by {', '.join(facts.users)}: power the board off first")
    if not facts.directory_exists:
        errors.append(f"the directory {directory} does not exist: create it, or correct flash_card")
    elif not facts.directory_writable:
        errors.append(
            f"the directory {directory} is not writable for this user: run as its owner, or correct flash_card"
        )
    elif need_bytes > facts.free_bytes:
        errors.append(
            f"{directory} has {facts.free_bytes // 2**20} MiB free, the card needs {need_bytes // 2**20} MiB: "
            f"free some space; an earlier card is untouched"
        )
    if image_bytes and card_bytes < image_bytes:
        errors.append(f"flash_card_size is {card_bytes} bytes, the image needs {image_bytes}: raise flash_card_size")
    return errors


def card_bytes(size: str) -> int:
    """Bytes of a size such as 16G, 512M or 34359738368 (binary multiples, a multiple of 512).

    Raises ValueError for any other text.
    """
    match = re.fullmatch(r"(\d+)([KMGT]?)(?:i?B)?", size.strip())
    if not match:
        raise ValueError(f"flash_card_size {size!r} is not a size: write for example 16G")
    number = int(match[1]) * 1024 ** " KMGT".index(match[2] or " ")
    if number % 512:
        raise ValueError(f"flash_card_size {size!r} is not a multiple of 512 bytes")
    return number


def _by_id_links() -> dict[str, list[str]]:
    """Links of /dev/disk/by-id by the device they point to, whole disks only."""
    links: dict[str, list[str]] = {}
    if BY_ID.is_dir():
        for link in sorted(BY_ID.iterdir()):
            if not re.search(r"-part\d+$", link.name):
                links.setdefault(str(link.resolve()), []).append(str(link))
    return links


def _lsblk(*device: str) -> list[dict[str, Any]]:
    """Entries of lsblk; empty when the device is gone.

    Raises RuntimeError when lsblk itself cannot run.
    """
    done = run("lsblk", "--json", "--bytes", "--output", LSBLK_COLUMNS, *device)
    if done.status == MISSING:
        raise RuntimeError("lsblk is missing on the control node: install the package util-linux")
    return json.loads(done.output)["blockdevices"] if done.status == 0 and done.output else []


def read_block_facts(path: str) -> BlockFacts:
    """Find a block device in /dev, lsblk and sysfs; nothing is opened."""
    links = _by_id_links()
    candidates = []
    for node in _lsblk():
        if node.get("type") == "disk" and node.get("tran") in {"usb", "mmc"}:
            candidates += links.get(str(node.get("path")), [])[:1]
    resolved = str(Path(path).resolve())
    if not Path(resolved).exists():
        return BlockFacts(path, resolved, exists=False, candidates=tuple(candidates))
    if not stat.S_ISBLK(Path(resolved).stat().st_mode):
        return BlockFacts(path, resolved, is_block=False, candidates=tuple(candidates))
    entries = _lsblk(resolved)
    block = Path("/sys/class/block") / Path(resolved).name
    return BlockFacts(
        path=path,
        resolved=resolved,
        is_accessible=os.access(resolved, os.R_OK | os.W_OK),
        lsblk=entries[0] if entries else {},
        has_partition_file=(block / "partition").exists(),
        holders=tuple(sorted(entry.name for entry in (block / "holders").glob("*"))),
        slaves=tuple(sorted(entry.name for entry in (block / "slaves").glob("*"))),
        by_id=tuple(links.get(resolved, [])),
        candidates=tuple(candidates),
    )


def users_of(path: Path) -> list[str]:
    """Processes and loop devices that have a file open, as far as this user has access."""
    try:
        wanted = path.stat()
    except OSError:
        return []
    found = []
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda entry: int(entry.name)):
        if int(process.name) == os.getpid():
            continue
        try:
            for descriptor in (process / "fd").iterdir():
                opened = descriptor.stat()
                if (opened.st_dev, opened.st_ino) == (wanted.st_dev, wanted.st_ino):
                    found.append(f"{(process / 'comm').read_text().strip()} (pid {process.name})")
                    break
        except OSError:
            continue  # ended meanwhile, or another user's
    for backing in sorted(Path("/sys").glob("block/loop*/loop/backing_file")):
        try:
            if backing.read_text().strip() == str(path):
                found.append(backing.parts[-3])
        except OSError:
            continue
    return found


def read_file_facts(path: str, is_card: bool) -> FileFacts:
    """Inspect an image file and its directory; nothing is opened."""
    card = Path(path)
    directory = card.parent
    exists = card.is_symlink() or card.exists()
    regular = card.is_file() and not card.is_symlink()
    return FileFacts(
        path=path,
        absolute=card.is_absolute(),
        directory_exists=directory.is_dir(),
        directory_writable=os.access(directory, os.W_OK),
        exists=exists,
        is_symlink=card.is_symlink(),
        is_regular=regular,
        size=card.stat().st_size if regular else 0,
        is_card=is_card,
        free_bytes=free_at(directory),
        users=tuple(users_of(card)) if regular else (),
    )
