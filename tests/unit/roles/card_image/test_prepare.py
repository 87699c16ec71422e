"""roles/card_image/files/prepare.sh on a small image of this machine's own programs, in namespaces of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SCRIPT = ROOT / "roles/card_image/files/prepare.sh"
NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
PROGRAMS = ("/usr/bin/env", "/usr/bin/true", "/bin/sh")
MACHINE_BYTE = 18
"""Place of the architecture in an ELF file."""
AARCH64 = 183
FIRST, BOOT = 2048, 16384
"""Sectors: where the boot partition begins, and how long it is."""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount an image")


def run(*argv: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in argv], input=text, capture_output=True, text=True, check=True)


def script(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    words = [*NAMESPACES, "sh", str(SCRIPT), *(str(word) for word in argv)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root file system that can run a few programs."""
    root = tmp_path / "tree"
    for name in ("etc/ssh", "dev", "proc", "sys", "run", "tmp", "usr/sbin", "var/lib/systemd", "var/cache/apt"):
        (root / name).mkdir(parents=True)
    (root / "etc/machine-id").write_text("uninitialized\n")
    (root / "etc/resolv.conf").symlink_to("../run/resolv.conf")
    for program in PROGRAMS:
        libraries = [word for word in run("ldd", program).stdout.split() if word.startswith("/")]
        for file in (program, *libraries):
            target = root / file.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    return root


def image(tree: Path) -> Path:
    """An image as Raspberry Pi OS has it: a boot partition, and a small one with the tree."""
    path = tree.parent / "os.img"
    start, size = FIRST + BOOT, 65536
    with path.open("wb") as target:
        target.truncate((start + size) * 512)
    table = f"label: dos\nstart={FIRST}, size={BOOT}, type=c\nstart={start}, size={size}, type=83\n"
    run("sfdisk", "--quiet", path, text=table)
    run("mkfs.ext4", "-q", "-d", tree, "-E", f"offset={start * 512}", path, f"{size // 2}k")
    return path


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "inputs"
    (folder / "archives").mkdir(parents=True)
    (folder / "root/etc/modules-load.d").mkdir(parents=True)
    (folder / "root/etc/modules-load.d/cluster.conf").write_text("overlay\n")
    (tmp_path / "k3s").write_bytes(b"program" * 100000)
    (tmp_path / "k3s").chmod(0o600)
    (folder / "root/usr/local/bin").mkdir(parents=True)
    (folder / "root/usr/local/bin/k3s").symlink_to(tmp_path / "k3s")
    (folder / "modes").write_text("0755 /usr/local/bin/k3s\n\n")
    for name in ("packages", "downloads", "masked", "enabled"):
        (folder / name).write_text("\n")
    return folder


def content(path: Path, command: str) -> str:
    """What debugfs says about the image's root file system."""
    offset = (FIRST + BOOT) * 512
    return subprocess.run(
        ["debugfs", "-R", command, f"{path}?offset={offset}"], capture_output=True, text=True, check=True
    ).stdout


def test_the_architecture_is_that_of_the_programs(tree: Path) -> None:
    assert script("inspect", image(tree)).stdout.strip() == os.uname().machine


def test_programs_that_do_not_run_here_are_refused(tree: Path) -> None:
    program = tree / "usr/bin/env"
    code = bytearray(program.read_bytes())
    code[MACHINE_BYTE : MACHINE_BYTE + 2] = AARCH64.to_bytes(2, "little")
    program.write_bytes(code)
    answer = script("inspect", image(tree))
    assert answer.returncode == 3
    assert "programs for aarch64 do not run on this" in answer.stderr and "qemu-user-static" in answer.stderr


@pytest.mark.parametrize("size", [0, 1 << 20])
def test_what_is_no_image_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "not.img"
    path.write_bytes(bytes(size))
    answer = script("inspect", path)
    assert (answer.returncode, answer.stderr) == (3, "the image has no second partition\n")


def test_files_are_in_the_image_and_nothing_else_has_changed(tree: Path, inputs: Path, tmp_path: Path) -> None:
    (tree / "etc/ssh/ssh_host_ed25519_key").write_text("of the image's maker")
    source, result = image(tree), tmp_path / "prepared.img"
    before = source.read_bytes()
    answer = script("prepare", source, inputs, "1", result)
    assert answer.returncode == 0, answer.stderr
    assert source.read_bytes() == before
    assert content(result, "cat /etc/modules-load.d/cluster.conf") == "overlay\n"
    assert content(result, "cat /etc/machine-id") == "uninitialized\n"
    assert 'Fast link dest: "../run/resolv.conf"' in content(result, "stat /etc/resolv.conf")
    program = content(result, "stat /usr/local/bin/k3s")
    assert "Type: regular    Mode:  0755" in program and f"Size: {(tmp_path / 'k3s').stat().st_size}" in program
    assert "ssh_host" not in content(result, "ls /etc/ssh") and "policy-rc.d" not in content(result, "ls /usr/sbin")


@pytest.mark.parametrize(
    "path", ["etc", "etc/ssh", "etc/machine-id", "etc/modules-load.d/cluster.conf", "usr/local", "usr/sbin/policy-rc.d"]
)
def test_a_link_of_the_image_does_not_lead_to_files_of_this_machine(
    tree: Path, inputs: Path, tmp_path: Path, path: str
) -> None:
    outside = tmp_path / "outside"
    for name in ("modules-load.d", "bin", "ssh"):
        (outside / name).mkdir(parents=True)
    (outside / "ssh_host_ed25519_key").write_text("of this machine")
    is_file = "." in path or path.endswith("id")
    link, target = tree / path, outside / "file" if is_file else outside
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_dir():
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    link.symlink_to(target)

    def found() -> dict[str, str]:
        files = [each for each in outside.rglob("*") if each.is_file()]
        return {str(each): each.read_text(errors="replace") for each in files}

    before = found()
    answer = script("prepare", image(tree), inputs, "1", tmp_path / "prepared.img")
    assert (answer.returncode, found()) == (3, before)
    assert "of the image leads over a link out of the image" in answer.stderr


def test_partition_ends_with_its_file_system(tree: Path, inputs: Path, tmp_path: Path) -> None:
    result = tmp_path / "prepared.img"
    assert script("prepare", image(tree), inputs, "300", result).returncode == 0
    size = int(run("partx", "--raw", "--noheadings", "--nr", "2", "--output", "SECTORS", result).stdout)
    blocks = dict(line.split(":", 1) for line in content(result, "stats -h").splitlines() if ":" in line)
    assert int(blocks["Block count"]) * int(blocks["Block size"]) == size * 512
    assert result.stat().st_size == (FIRST + BOOT + size) * 512
    # What is free would be written to every card.
    assert result.stat().st_size < 150 << 20


def test_a_failure_leaves_no_image_no_mount_and_no_device(tree: Path, inputs: Path, tmp_path: Path) -> None:
    (inputs / "packages").write_text("nfs-common\n")  # there is no apt-get in it
    before = run("losetup", "--list", "--noheadings", "--output", "BACK-FILE").stdout
    result = tmp_path / "prepared.img"
    answer = script("prepare", image(tree), inputs, "1", result)
    assert answer.returncode not in (0, 3) and "apt-get" in answer.stderr
    assert not result.exists() and not list(tmp_path.glob("*.part"))
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    assert run("losetup", "--list", "--noheadings", "--output", "BACK-FILE").stdout == before
