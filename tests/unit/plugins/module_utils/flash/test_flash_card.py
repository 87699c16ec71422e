"""Real cards from a real image: written, seeded with mtools, verified, and not changed when something is wrong."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.flash import write as flash_write
from ansible_collections.edge_ai.cluster.plugins.module_utils.flash.seed import (
    boot_partition,
    card_meta_data,
    instance_id,
    meta_data,
    read_boot_file,
)
from ansible_collections.edge_ai.cluster.plugins.module_utils.flash.write import (
    Source,
    WriteError,
    compare,
    make_head,
    write_block_card,
)
from flash_helpers import BOOT_BYTES, BOOT_OFFSET, CMDLINE, build_image, run_module

from tests.support.card_device import loop


def arguments(card: Path, image: Path, user_data: str = "#cloud-config\n", **more: Any) -> dict[str, Any]:
    identity = instance_id("pi-01", user_data, "network: {version: 2}\n", ["cgroup_enable=memory"], "digest")
    return {
        "card": str(card),
        "size": "64M",
        "image": str(image),
        "scratch": str(image.parent),
        "instance_id": identity,
        "user_data": user_data,
        "meta_data": meta_data(identity, {"user-data": user_data}),
        "network_config": "network: {version: 2}\n",
        "host_key": "a private host key\n",
        "cmdline": ["cgroup_enable=memory"],
        **more,
    }


def test_card_is_the_image_with_its_seed(image: Path, tmp_path: Path) -> None:
    card = tmp_path / "pi-01.img"
    given = arguments(card, image)
    result = run_module("flash_card", **given)
    assert result["changed"] and result["state"] == "written", result
    assert card.stat().st_size == 64 * 2**20
    boot = boot_partition(card)
    assert boot
    assert read_boot_file(card, boot, "user-data") == given["user_data"]
    assert read_boot_file(card, boot, "network-config") == given["network_config"]
    assert read_boot_file(card, boot, "host-key") == given["host_key"]
    assert read_boot_file(card, boot, "cmdline.txt") == CMDLINE.strip() + " cgroup_enable=memory\n"
    assert read_boot_file(card, boot, "config.txt") == "[all]\n"
    assert card_meta_data(card)["instance-id"] == given["instance_id"]
    end = BOOT_OFFSET + BOOT_BYTES
    assert card.read_bytes()[end : image.stat().st_size] == image.read_bytes()[end:]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pi-01.img"]
    assert not [path for path in image.parent.glob("card-*") if path.is_dir()]


def test_same_seed_makes_the_same_card(image: Path, tmp_path: Path) -> None:
    cards = [tmp_path / name for name in ("a.img", "b.img")]
    for card in cards:
        assert run_module("flash_card", **arguments(card, image))["changed"]
    assert cards[0].read_bytes() == cards[1].read_bytes()


def test_card_that_is_up_to_date_is_kept(image: Path, tmp_path: Path) -> None:
    card = tmp_path / "pi-01.img"
    run_module("flash_card", **arguments(card, image))
    before = card.stat()
    result = run_module("flash_card", **arguments(card, image))
    assert (result["changed"], result["state"]) == (False, "kept")
    assert card.stat().st_ino == before.st_ino and card.stat().st_mtime_ns == before.st_mtime_ns


def test_card_with_another_identity_is_not_overwritten_by_default(image: Path, tmp_path: Path) -> None:
    card = tmp_path / "pi-01.img"
    run_module("flash_card", **arguments(card, image))
    before = card.read_bytes()
    other = arguments(card, image, user_data="#cloud-config\nhostname: other\n")
    result = run_module("flash_card", **other)
    assert result["failed"] and "-e flash_reflash=pi-01" in result["msg"]
    assert card.read_bytes() == before
    assert run_module("flash_card", **{**other, "overwrite": True})["changed"]
    assert card_meta_data(card)["instance-id"] == other["instance_id"]


def test_file_that_is_not_a_card_is_not_overwritten(image: Path, tmp_path: Path) -> None:
    card = tmp_path / "thesis.odt"
    card.write_text("years of work")
    result = run_module("flash_card", **arguments(card, image))
    assert result["failed"] and "not a card image" in result["msg"]
    assert card.read_text() == "years of work"


def test_check_mode_writes_nothing(image: Path, tmp_path: Path) -> None:
    card = tmp_path / "pi-01.img"
    result = run_module("flash_card", **arguments(card, image), _ansible_check_mode=True)
    assert result["changed"] and not card.exists()


def test_interrupted_write_is_overwritten(image: Path, tmp_path: Path) -> None:
    card = tmp_path / "pi-01.img"
    (tmp_path / ".pi-01.img.part").write_bytes(b"torn" * 1000)
    assert run_module("flash_card", **arguments(card, image))["changed"]
    assert [path.name for path in tmp_path.iterdir()] == ["pi-01.img"]


def test_scratch_files_of_a_killed_run_are_removed(image: Path, tmp_path: Path) -> None:
    card = tmp_path / "pi-01.img"
    run_module("flash_card", **arguments(card, image))
    lock = max(image.parent.glob("card-*.lock"), key=lambda path: path.stat().st_mtime_ns)
    left = lock.with_suffix("")
    left.mkdir()
    (left / "host-key").write_text("a private host key")
    card.unlink()
    assert run_module("flash_card", **arguments(card, image))["changed"]
    assert not left.exists()


def test_two_runs_do_not_write_the_same_card(image: Path, tmp_path: Path) -> None:
    card = tmp_path / "pi-01.img"
    run_module("flash_card", **arguments(card, image))
    card.unlink()
    lock = max(image.parent.glob("card-*.lock"), key=lambda path: path.stat().st_mtime_ns)
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        result = run_module("flash_card", **arguments(card, image))
    assert result["failed"] and "another run is writing it" in result["msg"]


@pytest.mark.parametrize(
    ("cmdline", "expected"),
    [
        (None, "no cmdline.txt"),
        ("quiet\n", "no root="),
        ("root=PARTUUID=1-02 init=/usr/lib/raspberrypi-sys-mods/firstboot\n", "bookworm"),
    ],
)
def test_images_that_cannot_be_seeded_are_rejected(cmdline: str | None, expected: str, tmp_path: Path) -> None:
    card = tmp_path / "card" / "pi-01.img"
    card.parent.mkdir()
    result = run_module("flash_card", **arguments(card, build_image(tmp_path / "os.img", cmdline)))
    assert result["failed"] and expected in result["msg"]
    assert not list(card.parent.iterdir())


def test_file_that_is_not_an_image_is_rejected(tmp_path: Path) -> None:
    image = tmp_path / "os.img"
    image.write_bytes(bytes(2**20))
    result = run_module("flash_card", **arguments(tmp_path / "pi-01.img", image))
    assert result["failed"] and "not a Raspberry Pi OS image" in result["msg"]


def test_full_boot_partition_is_reported(tmp_path: Path) -> None:
    image = build_image(tmp_path / "os.img", filler_bytes=BOOT_BYTES - 2 * 2**20)
    card = tmp_path / "card" / "pi-01.img"
    card.parent.mkdir()
    result = run_module("flash_card", **arguments(card, image, user_data="#cloud-config\n#" + "x" * 3 * 2**20))
    assert result["failed"] and "cannot be written to the image's boot partition" in result["msg"], result
    assert not list(card.parent.iterdir())


def test_full_disk_keeps_the_earlier_card(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = tmp_path / "pi-01.img"
    card.write_bytes(b"earlier card")
    head = tmp_path / "head"
    make_head(image, head, BOOT_OFFSET + BOOT_BYTES)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(flash_write, "copy_range", full)
    with pytest.raises(WriteError, match="is full"):
        flash_write.write_file_card(
            Source(head, BOOT_OFFSET + BOOT_BYTES, image, image.stat().st_size), card, 64 * 2**20
        )
    assert card.read_bytes() == b"earlier card"
    assert not (tmp_path / ".pi-01.img.part").exists()


def test_one_flipped_bit_is_detected(image: Path, tmp_path: Path) -> None:
    card = tmp_path / "card.img"
    content = bytearray(image.read_bytes())
    content[BOOT_OFFSET + BOOT_BYTES + 12345] ^= 1
    card.write_bytes(content)
    source = Source(image, BOOT_OFFSET, image, image.stat().st_size)
    descriptor = os.open(card, os.O_RDONLY)
    try:
        with pytest.raises(WriteError, match="the card differs"):
            compare(source, descriptor)
    finally:
        os.close(descriptor)


@pytest.fixture
def blank(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A file without zeros, and a loop device on it, which the gate rejects; the gate is not called here."""
    backing = tmp_path / "backing.img"
    backing.write_bytes(b"\xff" * (60 * 2**20))
    with ExitStack() as stack:
        try:
            device = stack.enter_context(loop(backing))
        except OSError:
            pytest.skip("no loop devices for this user")
        yield backing, device


def test_block_device_is_written_end_to_end_and_its_table_last(
    image: Path, tmp_path: Path, blank: tuple[Path, Path]
) -> None:
    backing, device = blank
    head = tmp_path / "head"
    make_head(image, head, BOOT_OFFSET + BOOT_BYTES)
    written = write_block_card(Source(head, BOOT_OFFSET + BOOT_BYTES, image, image.stat().st_size), device)
    assert written.bytes_compared == image.stat().st_size - 512
    assert backing.read_bytes()[: image.stat().st_size] == image.read_bytes()


def test_block_device_whose_content_is_wrong_gets_no_partition_table(image: Path, blank: tuple[Path, Path]) -> None:
    backing, device = blank
    # The source is larger than the image: the write fails near the end.
    with pytest.raises(WriteError):
        write_block_card(Source(image, BOOT_OFFSET, image, image.stat().st_size + 512), device)
    assert backing.read_bytes()[:512] == bytes(512)


@pytest.fixture
def shares_blocks(tmp_path: Path) -> Iterator[Path]:
    """A file system on which files share blocks, or a reason not to try."""
    if os.geteuid() or not shutil.which("mkfs.xfs"):
        pytest.skip("needs root and mkfs.xfs (package xfsprogs)")
    backing, folder = tmp_path / "xfs.img", tmp_path / "xfs"
    with backing.open("wb") as file:
        file.truncate(512 * 2**20)
    subprocess.run(["mkfs.xfs", "-q", backing], check=True)
    folder.mkdir()
    with ExitStack() as stack:
        try:
            device = stack.enter_context(loop(backing))
        except OSError as error:
            pytest.skip(f"no loop devices for this user or kernel: {error}")
        subprocess.run(["mount", device, folder], check=True)
        try:
            yield folder
        finally:
            subprocess.run(["umount", folder], check=True)


def test_cards_share_the_blocks_of_their_image(shares_blocks: Path, tmp_path: Path) -> None:
    image, head = shares_blocks / "os.img", tmp_path / "head"
    image.write_bytes(os.urandom(32 * 2**20))
    make_head(image, head, 2**20)
    for card in (shares_blocks / "pi-01.img", shares_blocks / "pi-02.img"):
        os.sync()
        before = shutil.disk_usage(shares_blocks).free
        flash_write.write_file_card(Source(head, 2**20, image, image.stat().st_size), card, 64 * 2**20)
        os.sync()
        assert card.read_bytes()[: image.stat().st_size] == image.read_bytes()
        assert before - shutil.disk_usage(shares_blocks).free < 4 * 2**20


def test_card_on_another_file_system_than_its_image(image: Path, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        card = Path(folder, "pi-01.img")
        flash_write.write_file_card(Source(image, BOOT_OFFSET, image, image.stat().st_size), card, 64 * 2**20)
        assert card.read_bytes()[: image.stat().st_size] == image.read_bytes()


def test_a_card_of_another_network_is_not_offered_to_be_overwritten(image: Path, tmp_path: Path) -> None:
    card = tmp_path / "pi-01.img"
    parts = {"user-data": "#cloud-config\n", "network-config": "192.168.1.11"}
    run_module(
        "flash_card",
        **{**arguments(card, image), "meta_data": meta_data("pi-01-aaa", parts), "instance_id": "pi-01-aaa"},
    )
    there = {**parts, "network-config": "192.168.2.11"}
    given = {"meta_data": meta_data("pi-01-bbb", there), "instance_id": "pi-01-bbb", "validate_only": True}
    result = run_module("flash_card", **{**arguments(card, image), **given})
    assert result["failed"] and "playbooks/readdress.yml" in result["msg"]
    assert "flash_reflash" not in result["msg"]
