"""Preconditions, owner's mark, card: what can be checked without root."""

import json
import struct
import subprocess
from dataclasses import replace

import pytest

from lab import card, osimage, owner, preconditions, process, settings
from lab.errors import LabError

LAB = settings.parse((settings.PACKAGE / "lab.toml").read_text(), {}, cpus=2)
BOOKWORM = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'


def test_a_fit_machine_has_no_problems():
    assert preconditions.system_problems(BOOKWORM, "x86_64", 0) == []


def test_all_problems_of_a_machine_are_listed_at_once():
    problems = preconditions.system_problems('PRETTY_NAME="Other 1"\nID=other\n', "aarch64", 1000)
    assert len(problems) == 3
    assert "sudo" in problems[0]
    assert "Other 1" in problems[1] and "Debian 12 or 13" in problems[1]
    assert "aarch64" in problems[2]


@pytest.mark.parametrize(
    ("uid_map", "problems"),
    [("         0          0 4294967295\n", 0), ("0 100000 65536\n", 1), ("0 0 1000\n1000 1000 2000000000\n", 0)],
)
def test_a_container_without_the_boards_user_is_refused(uid_map, problems):
    assert len(preconditions.user_problems(uid_map, LAB.uid)) == problems


@pytest.fixture
def instance(tmp_path, monkeypatch):
    """An instance whose run folder is a temporary one."""
    monkeypatch.setattr(settings.Settings, "run", property(lambda self: tmp_path))
    return replace(LAB)


def test_a_running_lab_of_another_checkout_is_refused_by_name(instance, tmp_path):
    (tmp_path / "owner.json").write_text(json.dumps({"root": "/somewhere/else", "kernel": "/k"}))
    daemon = subprocess.Popen(["sleep", "60"])
    process.write_identity(tmp_path / "gateway.pid", process.identify(daemon.pid))
    with pytest.raises(LabError, match=r"/somewhere/else.*gateway"):
        owner.refuse_if_foreign(instance)
    daemon.kill()
    daemon.wait()
    owner.refuse_if_foreign(instance)
    with pytest.raises(LabError, match="python -m lab up"):
        owner.require_up(instance)


def make_card(path, size=64):
    """A small card: partitions, FAT and ext4, without root and without mounting."""
    tree = path.parent / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/fstab").write_text(osimage.FSTAB.format(disk_id="11111111"))
    with path.open("wb") as handle:
        handle.truncate(size << 20)
    table = (
        "label: dos\nlabel-id: 0x11111111\nunit: sectors\n"
        "start=16384, size=16384, type=c\nstart=32768, size=16384, type=83\n"
    )
    subprocess.run(["sfdisk", "--quiet", path], input=table, text=True, check=True)
    subprocess.run(["mkfs.vfat", "--offset=16384", "-n", "bootfs", path, "8192"], check=True, capture_output=True)
    ext4 = ["mkfs.ext4", "-q", "-E", f"offset={32768 * 512}", "-d", tree, path, "8192k"]
    subprocess.run(ext4, check=True, capture_output=True)
    card.write_boot_file(path, "cmdline.txt", osimage.CMDLINE.format(disk_id="11111111"))
    card.write_boot_file(path, "meta-data", osimage.TEMPLATES["meta-data"])


def test_the_first_boot_grows_the_root_partition_and_gives_the_disk_a_new_id_once(tmp_path):
    path = tmp_path / "card.img"
    make_card(path)
    assert card.first_boot(path)
    mbr = path.read_bytes()[:512]
    disk_id = f"{struct.unpack_from('<I', mbr, 440)[0]:08x}"
    start, sectors = struct.unpack_from("<II", mbr, 446 + 16 + 8)
    assert (start + sectors) * 512 == 64 << 20
    assert disk_id != "11111111"
    cmdline = card.read_boot_file(path, "cmdline.txt")
    assert f"root=PARTUUID={disk_id}-02" in cmdline and "resize" not in cmdline
    fstab = subprocess.run(
        ["debugfs", "-R", "cat /etc/fstab", f"{path}?offset={start * 512}"], capture_output=True, text=True
    )
    assert f"PARTUUID={disk_id}-01  /boot/firmware" in fstab.stdout
    check = subprocess.run(["e2fsck", "-fn", f"{path}?offset={start * 512}"], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout
    assert not card.first_boot(path)


def test_the_image_s_own_meta_data_is_no_seed(tmp_path):
    path = tmp_path / "card.img"
    make_card(path)
    assert not card.is_seeded(path)
    card.write_boot_file(path, "meta-data", "instance-id: pi-01-0123456789ab\n")
    assert card.is_seeded(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no card in this board"), (b"", "no partition table"), (b"\0" * 4096, "no partition table")],
)
def test_what_is_no_card_is_reported(tmp_path, content, message):
    path = tmp_path / "card.img"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LabError, match=message):
        card.read_boot_file(path, "cmdline.txt")
    assert not card.is_seeded(path)
