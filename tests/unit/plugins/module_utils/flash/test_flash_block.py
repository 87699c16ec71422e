"""Block devices that behave as cards do: good ones, and the ones people are sold, or pull out."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.flash.gate import (
    BlockFacts,
    named_content,
    read_block_facts,
    refuse_block,
)
from ansible_collections.edge_ai.cluster.plugins.module_utils.flash.write import (
    MARK,
    Source,
    WriteError,
    mark_positions,
    write_block_card,
)
from flash_helpers import BOOT_BYTES, BOOT_OFFSET

from tests.support.card_device import card_device, loop
from tests.support.paths import COLLECTIONS

MIB = 2**20


@contextmanager
def card(directory: Path, size: int, real: int, beyond: str = "wrap") -> Iterator[Path]:
    """A card in a reader, or a reason not to try."""
    with ExitStack() as stack:
        try:
            device = stack.enter_context(card_device(directory, size, real, beyond))
        except OSError as error:
            pytest.skip(f"no loop devices on FUSE for this user or kernel: {error}")
        yield device


@contextmanager
def reader(backing: Path) -> Iterator[Path]:
    """A reader with what a file has, or a reason not to try."""
    with ExitStack() as stack:
        try:
            device = stack.enter_context(loop(backing))
        except OSError as error:
            pytest.skip(f"no loop devices for this user or kernel: {error}")
        yield device


def source(image: Path) -> Source:
    return Source(image, BOOT_OFFSET + BOOT_BYTES, image, image.stat().st_size)


def test_card_that_has_what_it_reports_is_written(image: Path, tmp_path: Path) -> None:
    with card(tmp_path, 128 * MIB, 128 * MIB) as device:
        assert write_block_card(source(image), device).bytes_compared == image.stat().st_size - 512
    store = (tmp_path / "card.store").read_bytes()
    assert store[: image.stat().st_size] == image.read_bytes()


@pytest.mark.parametrize("beyond", ["wrap", "lose"])
@pytest.mark.parametrize("real", [32, 60, 100, 120])
def test_card_that_has_less_than_it_reports_is_named(image: Path, tmp_path: Path, real: int, beyond: str) -> None:
    """The image has 56 MiB: it fits on most of them, and was read back without a difference before."""
    with card(tmp_path, 128 * MIB, real * MIB, beyond) as device:
        with pytest.raises(WriteError, match=r"reports 0\.1 GB and has less, at most .* counterfeit"):
            write_block_card(source(image), device)
        assert device.read_bytes()[:512] == bytes(512)  # never boots


@pytest.mark.parametrize(("is_gone", "expected"), [(True, "was removed while it was written"), (False, "is faulty")])
def test_card_that_fails_is_told_from_one_that_is_pulled_out(
    image: Path, tmp_path: Path, is_gone: bool, expected: str
) -> None:
    """A reader whose card is gone is still there, with 0 bytes."""
    state = tmp_path / "card.state"
    state.write_text("slow")
    with card(tmp_path, 128 * MIB, 128 * MIB) as device:

        def fail() -> None:
            time.sleep(0.5)
            state.write_text("pulled")
            # Again: a write that was under way sets the size that the kernel knows.
            while is_gone and int(subprocess.check_output(["blockdev", "--getsize64", str(device)])):
                subprocess.run(["losetup", "--set-capacity", str(device)], check=True)
                time.sleep(0.05)

        thread = threading.Thread(target=fail)
        thread.start()
        with pytest.raises(WriteError, match=expected):
            write_block_card(source(image), device)
        thread.join()
    assert (tmp_path / "card.store").read_bytes()[:512] == bytes(512)


def test_write_that_nobody_waits_for_ends(image: Path, tmp_path: Path) -> None:
    """As after Ctrl-C, which Ansible gets, but not what it runs by sudo."""
    (tmp_path / "card.state").write_text("slow")
    with card(tmp_path, 128 * MIB, 128 * MIB) as device:
        reading, writing = os.pipe()
        program = f"""
import sys
from pathlib import Path
from ansible_collections.edge_ai.cluster.plugins.module_utils.flash.write import Source, write_block_card
image = Path({str(image)!r})
write_block_card(Source(image, {BOOT_OFFSET}, image, image.stat().st_size), Path({str(device)!r}))
"""
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdout=writing, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(COLLECTIONS)},
        )  # fmt: skip
        os.close(writing)
        time.sleep(0.5)
        os.close(reading)
        # What is in memory is written first, at the speed of this machine's disk.
        assert "WriteError: the run was ended" in process.communicate(timeout=180)[1]


def test_reader_without_a_card_is_reported(image: Path, tmp_path: Path) -> None:
    backing = tmp_path / "empty"
    backing.touch()
    with reader(backing) as device:
        assert refuse_block(read_block_facts(str(device)), "x", 1, 10**15) == [
            f"{device} is a reader without a card: insert the card, up to the stop"
        ]
        with pytest.raises(WriteError, match="the card or its reader was removed"):
            write_block_card(source(image), device)


def test_file_systems_of_partitions_with_names_are_found() -> None:
    parts = [{"label": "EOS\x1b[2J", "fstype": "vfat"}, {"label": None, "fstype": "ext4"}]
    assert named_content(BlockFacts("/dev/x", "/dev/x", lsblk={"children": parts})) == ["EOS?[2J (vfat)"]


@pytest.mark.parametrize(("image_bytes", "size"), [(3 * 10**9, 32 * 10**9), (56 * MIB, 128 * MIB), (4 * MIB, 5 * MIB)])
def test_every_smaller_card_loses_a_mark(image_bytes: int, size: int) -> None:
    """Whatever a card that wraps has really, its image overwrites a mark."""
    positions = mark_positions(image_bytes, size)
    assert positions == sorted(set(positions)) and positions[-1] + MARK <= size and positions[0] >= image_bytes
    for real in range(image_bytes, size - MARK, max(size // 1000, MARK) // MARK * MARK):
        assert any(place >= real and place % real < image_bytes for place in positions), real


def test_card_of_the_images_size_has_no_marks() -> None:
    assert mark_positions(56 * MIB, 56 * MIB) == []
