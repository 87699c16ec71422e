"""Imports the flash role's Python as Ansible does, runs its modules, and builds small real OS images."""

import json
import os
import struct
import subprocess
from pathlib import Path
from typing import Any

from tests.support import forks
from tests.support.paths import ROOT

ROLE = ROOT / "roles" / "flash"
MODULES = "ansible_collections.edge_ai.cluster.plugins.modules"

CMDLINE = (
    "console=serial0,115200 console=tty1 root=PARTUUID=12345678-02 rootfstype=ext4 fsck.repair=yes rootwait resize\n"
)
BOOT_OFFSET = 8 * 2**20
BOOT_BYTES = 40 * 2**20


def mtools(*command: str) -> str:
    env = {**os.environ, "MTOOLS_SKIP_CHECK": "1", "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout


def build_image(path: Path, cmdline: str | None = CMDLINE, filler_bytes: int = 0) -> Path:
    """An image laid out as Raspberry Pi OS: FAT32 bootfs at 8 MiB, then a second partition with random content."""
    boot = path.with_suffix(".fat")
    with boot.open("wb") as file:
        file.truncate(BOOT_BYTES)
    mtools("mkfs.vfat", "-F", "32", "-s", "1", "-n", "bootfs", str(boot))
    files = {"config.txt": "[all]\n", "meta-data": "instance_id: rpios-image\n"}
    if cmdline is not None:
        files["cmdline.txt"] = cmdline
    if filler_bytes:
        files["filler"] = "x" * filler_bytes
    for name, text in files.items():
        source = path.with_name(name)
        source.write_text(text)
        mtools("mcopy", "-i", str(boot), str(source), f"::{name}")
        source.unlink()
    second = BOOT_OFFSET + BOOT_BYTES
    mbr = bytearray(512)
    struct.pack_into("<I", mbr, 440, 0x12345678)
    struct.pack_into("<B3xB3xII", mbr, 446, 0, 0x0C, BOOT_OFFSET // 512, BOOT_BYTES // 512)
    struct.pack_into("<B3xB3xII", mbr, 462, 0, 0x83, second // 512, 8 * 2**20 // 512)
    mbr[510:] = b"\x55\xaa"
    with path.open("wb") as image:
        image.write(mbr)
        image.seek(BOOT_OFFSET)
        image.write(boot.read_bytes())
        image.write(os.urandom(3 * 2**20))
        image.truncate(second + 8 * 2**20)
    boot.unlink()
    return path


def run_module(name: str, /, **arguments: Any) -> dict[str, Any]:
    """Run a module of the role as a program, as Ansible does on the control node."""
    done = forks.run_module(f"{MODULES}.{name}", arguments)
    assert done.out.strip().startswith("{"), done.out + done.err
    answer: dict[str, Any] = json.loads(done.out)
    return answer
