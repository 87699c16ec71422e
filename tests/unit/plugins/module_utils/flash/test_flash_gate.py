"""A card is rejected for every reason at once; a disk in use never passes."""

import dataclasses
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.flash.gate import (
    BlockFacts,
    FileFacts,
    card_bytes,
    is_block_path,
    read_block_facts,
    read_file_facts,
    refuse_block,
    refuse_file,
    users_of,
)

GB = 10**9
SERIAL = "000000001532"


def disk(**changes: Any) -> dict[str, Any]:
    node = {
        "name": "sdb", "kname": "sdb", "path": "/dev/sdb", "type": "disk", "tran": "usb", "ro": False, "rm": True,
        "subsystems": "block:scsi:usb:pci", "size": 32 * GB, "serial": SERIAL, "model": "MassStorageClass",
        "fstype": None, "mountpoints": [None],
        "children": [
            {"name": "sdb1", "path": "/dev/sdb1", "type": "part", "fstype": "vfat", "mountpoints": [None]},
            {"name": "sdb2", "path": "/dev/sdb2", "type": "part", "fstype": "ext4", "mountpoints": [None]},
        ],
    }  # fmt: skip
    return {**node, **changes}


def facts(node: dict[str, Any] | None = None, **changes: Any) -> BlockFacts:
    link = "/dev/disk/by-id/usb-Generic_MassStorageClass_000000001532-0:0"
    base = BlockFacts(path=link, resolved="/dev/sdb", lsblk=disk() if node is None else node, by_id=(link,))
    return dataclasses.replace(base, **changes)


def refuse(found: BlockFacts, confirmed: str = SERIAL, image: int = 3 * GB, most: int = 256 * GB) -> list[str]:
    return refuse_block(found, confirmed, image, most)


def part(**changes: Any) -> dict[str, Any]:
    return disk(children=[{"path": "/dev/sdb1", "type": "part", "fstype": "vfat", "mountpoints": [None], **changes}])


def test_confirmed_card_in_a_reader_passes() -> None:
    assert refuse(facts()) == []


def test_built_in_reader_passes_although_it_reports_not_removable() -> None:
    node = disk(path="/dev/mmcblk0", tran="mmc", rm=False, serial="0x1a2b3c4d", model=None)
    assert refuse(facts(node, resolved="/dev/mmcblk0"), confirmed="0x1a2b3c4d") == []


def test_reader_without_serial_is_confirmed_by_its_model() -> None:
    assert refuse(facts(disk(serial=None)), confirmed="MassStorageClass") == []


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (facts(exists=False), "does not exist: connect the card reader"),
        (facts(exists=False, path="/dev/disk/by-id/mmc-SC32G_0x1a2b"), "does not exist: insert that card (a built-in"),
        (facts(is_block=False), "is not a block device"),
        (facts(path="/dev/sdb"), "set flash_card: /dev/disk/by-id/usb-Generic"),
        (facts(disk(type="part"), has_partition_file=True), "is a part, not a whole disk"),
        (facts(disk(type="loop"), resolved="/dev/loop0"), "is not a physical disk (loop0)"),
        (facts(disk(type="disk"), resolved="/dev/ram0"), "is not a physical disk (ram0)"),
        (facts(disk(type="disk"), resolved="/dev/zram0"), "is not a physical disk (zram0)"),
        (facts(disk(type="lvm"), resolved="/dev/dm-1"), "is not a physical disk (dm-1)"),
        (facts(disk(type="raid1"), resolved="/dev/md127"), "is not a physical disk (md127)"),
        (facts(disk(type="rom"), resolved="/dev/sr0"), "is not a physical disk (sr0)"),
        (facts(disk(tran="mmc"), resolved="/dev/mmcblk0boot0"), "is a boot area of an eMMC"),
        (facts(disk(tran="mmc"), resolved="/dev/mmcblk0rpmb"), "is a boot area of an eMMC"),
        (facts(part(mountpoints=["/media/me/bootfs"])), "mounted at /media/me/bootfs: umount /media/me/bootfs"),
        (facts(part(mountpoints=["/"])), "/dev/sdb is a disk of the running system (/): choose another"),
        (facts(part(mountpoints=["/boot/efi"])), "is a disk of the running system (/boot/efi)"),
        (facts(part(mountpoints=["[SWAP]"])), "is in use as swap"),
        (facts(disk(mountpoints=["/data"], children=[])), "/dev/sdb is mounted at /data"),
        (facts(part(fstype="LVM2_member")), "is a LVM2_member"),
        (facts(part(fstype="linux_raid_member")), "is a linux_raid_member"),
        (facts(part(fstype="zfs_member")), "is a zfs_member"),
        (facts(part(fstype="crypto_LUKS")), "is a crypto_LUKS"),
        (facts(part(children=[{"path": "/dev/dm-0", "mountpoints": ["/"]}])), "is a disk of the running system (/)"),
        (facts(holders=("dm-0",)), "is part of dm-0"),
        (facts(slaves=("sda",)), "is part of sda"),
        (facts(disk(tran="sata", subsystems="block:scsi:pci")), "is on sata"),
        (facts(disk(tran="nvme", subsystems="block:nvme:pci")), "is on nvme"),
        (facts(disk(tran=None, subsystems="block:virtio:pci")), "is on an unknown bus"),
        (facts(disk(ro=True)), "is read-only: move the card's lock slider"),
        (facts(disk(size=2 * GB)), "the image needs 3000000000"),
        (facts(disk(size=0)), "is a reader without a card"),
        (facts(disk(rm=False)), "is a USB disk (MassStorageClass), not a card in a reader"),
        (facts(is_accessible=False), "may not be written by this user"),
        (facts(disk(size=2000 * GB)), "more than flash_card_max_bytes"),
        (facts(disk(serial=None, model=None)), "neither serial nor model"),
    ],
)  # fmt: skip
def test_everything_else_is_rejected(found: BlockFacts, expected: str) -> None:
    assert expected in "\n".join(refuse(found))


def test_unconfirmed_card_is_rejected_with_a_remedy() -> None:
    assert refuse(facts(), confirmed="") == [
        f'it is not confirmed: check the reader (MassStorageClass), then set flash_card_serial: "{SERIAL}"'
    ]


def test_another_card_than_the_confirmed_one_is_rejected() -> None:
    assert 'its serial is "000000001532"' in refuse(facts(), confirmed="000000009999")[0]


def test_model_does_not_confirm_a_card_that_has_a_serial() -> None:
    assert refuse(facts(), confirmed="MassStorageClass")


def test_all_reasons_are_reported_at_once() -> None:
    node = disk(tran="sata", subsystems="block:scsi:pci", ro=True, size=2000 * GB, mountpoints=["/"])
    reasons = refuse(facts(node, path="/dev/sdb", holders=("md0",)), confirmed="")
    assert len(reasons) == 7


def test_disk_of_this_machine_is_rejected() -> None:
    source = subprocess.run(
        ["findmnt", "--noheadings", "--nofsroot", "--output", "SOURCE", "/"], capture_output=True, text=True
    ).stdout.strip()
    if not source.startswith("/dev/"):
        pytest.skip("the root file system of this machine is on no block device")
    reasons = refuse_block(read_block_facts(source), "", 1, 10**15)
    assert any("is a disk of the running system (/" in reason for reason in reasons), reasons


def test_loop_device_is_rejected(tmp_path: Path) -> None:
    backing = tmp_path / "backing.img"
    with backing.open("wb") as file:
        file.truncate(16 * 2**20)
    made = subprocess.run(["losetup", "--find", "--show", str(backing)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip("no loop devices for this user")
    loop = made.stdout.strip()
    try:
        reasons = refuse_block(read_block_facts(loop), "", 1, 10**15)
        assert any("is not a physical disk (loop" in reason for reason in reasons), reasons
        assert any(
            "is in use by loop" in reason for reason in refuse_file(read_file_facts(str(backing), True), 1, 1, 1, True)
        )
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)


def test_missing_device_is_reported_with_the_available_ones() -> None:
    reasons = refuse_block(read_block_facts("/dev/disk/by-id/usb-none"), "x", 1, 1)
    assert len(reasons) == 1
    assert "does not exist" in reasons[0]


def test_dev_null_is_not_a_block_device() -> None:
    assert "is not a block device" in refuse_block(read_block_facts("/dev/null"), "x", 1, 1)[0]


CARD = FileFacts(path="/cards/pi-01.img", free_bytes=10 * GB)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"path": "cards/pi-01.img", "absolute": False}, "is not an absolute path"),
        ({"exists": True, "is_symlink": True}, "is a symbolic link"),
        ({"exists": True, "is_regular": False}, "is not a regular file"),
        ({"exists": True, "size": 1834}, "contains something that is not a card image"),
        ({"directory_exists": False}, "the directory /cards does not exist"),
        ({"directory_writable": False}, "the directory /cards is not writable"),
        ({"free_bytes": GB}, "/cards has 953 MiB free, the card needs 1907 MiB"),
        ({"exists": True, "size": 1, "is_card": True, "users": ("uml (pid 7)",)}, "in use by uml (pid 7)"),
    ],
)  # fmt: skip
def test_invalid_card_file_is_rejected(changes: dict[str, Any], expected: str) -> None:
    reasons = refuse_file(dataclasses.replace(CARD, **changes), 16 * GB, 3 * GB, 2 * GB, overwrite=False)
    assert len(reasons) == 1
    assert expected in reasons[0]


def test_card_file_smaller_than_the_image_is_rejected() -> None:
    assert "raise flash_card_size" in refuse_file(CARD, GB, 3 * GB, 2 * GB, overwrite=False)[0]


@pytest.mark.parametrize("changes", [{}, {"exists": True, "size": 5, "is_card": True}, {"exists": True, "size": 0}])
def test_valid_card_file_passes(changes: dict[str, Any]) -> None:
    assert refuse_file(dataclasses.replace(CARD, **changes), 16 * GB, 3 * GB, 2 * GB, overwrite=False) == []


def test_file_that_a_process_has_open_is_in_use(tmp_path: Path) -> None:
    card = tmp_path / "card.img"
    card.write_bytes(b"card")
    with card.open("rb") as held:
        process = subprocess.Popen(["sleep", "60"], stdin=held)
        try:
            assert users_of(card) == [f"sleep (pid {process.pid})"]
        finally:
            process.kill()
            process.wait()
    assert users_of(card) == []


@pytest.mark.parametrize(("size", "want"), [("16G", 16 * 2**30), ("512M", 2**29), ("1GiB", 2**30), ("1024", 1024)])
def test_sizes_are_read(size: str, want: int) -> None:
    assert card_bytes(size) == want


@pytest.mark.parametrize("size", ["", "big", "16 G", "1000", "-1G"])
def test_invalid_sizes_are_reported(size: str) -> None:
    with pytest.raises(ValueError, match="flash_card_size"):
        card_bytes(size)


def test_devices_and_files_are_distinguished() -> None:
    assert is_block_path("/dev/disk/by-id/x")
    assert not is_block_path("/dev/shm/card.img")
    assert not is_block_path("/cards/x.img")
