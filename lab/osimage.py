"""The image that the boards are flashed with: Debian, laid out as Raspberry Pi OS Lite is."""

import hashlib
import os
import secrets
import shutil
from datetime import date
from pathlib import Path

from lab import apt, kernel
from lab.cache import Cache, digest_of
from lab.command import run
from lab.progress import step
from lab.settings import PACKAGE, Settings

MIB = 1 << 20
BOOT_START = 8 * MIB
BOOT_SIZE = 512 * MIB
ROOT_START = BOOT_START + BOOT_SIZE

PACKAGES = (PACKAGE / "os-packages.txt").read_text().split()
"""What a fresh Raspberry Pi OS Lite has that roles may use, and what the image itself needs."""

LEFT_OUT = ("doc/*", "man/*", "info/*", "locale/*")

CMDLINE = (
    "console=serial0,115200 console=tty1 root=PARTUUID={disk_id}-02 rootfstype=ext4 fsck.repair=yes rootwait resize\n"
)

CONFIG = """\
# For more options and information see
# http://rptl.io/configtxt

dtparam=audio=on
camera_auto_detect=1
display_auto_detect=1
auto_initramfs=1
dtoverlay=vc4-kms-v3d
max_framebuffers=2
disable_fw_kms_setup=1
arm_64bit=1
disable_overscan=1
arm_boost=1

[cm4]
otg_mode=1

[cm5]
dtoverlay=dwc2,dr_mode=host

[all]
"""

TEMPLATES = {
    "user-data": "#cloud-config\n\n# What a board makes of itself at its first boot; see https://cloudinit.readthedocs.io/\n",
    # The underscore is the vendor's: cloud-init reads only `instance-id`, so this file names no instance.
    "meta-data": "dsmode: local\ninstance_id: rpios-image\n",
    "network-config": "# The board's network, in netplan's form. Without it NetworkManager asks a DHCP server.\n",
}

FSTAB = """\
proc            /proc           proc    defaults          0       0
PARTUUID={disk_id}-01  /boot/firmware  vfat    defaults          0       2
PARTUUID={disk_id}-02  /               ext4    defaults,noatime  0       1
"""


def digest(settings: Settings) -> str:
    """Digest of what the image is made from: release, kernel, the files of lab/os and this recipe."""
    recipe = [PACKAGE / name for name in ("os", "os-setup.sh", "os-packages.txt", "osimage.py", "apt.py")]
    return digest_of([settings.os_suite, kernel.digest(settings), *recipe], PACKAGE)


def build(settings: Settings, cache: Cache, again: bool = False) -> Path:
    """Folder with one `<date>-raspios-<suite>-amd64-lite.img.xz` and its `.sha256`."""
    kernel_folder = kernel.build(settings, cache)
    return cache.ensure("os-image", digest(settings), lambda folder: _make(settings, kernel_folder, folder), again)


def _make(settings: Settings, kernel_folder: Path, folder: Path) -> None:
    today = date.today().isoformat()
    root = folder / "root"
    with step(f"  Debian {settings.os_suite} with {len(PACKAGES)} packages"):
        _debian(settings, root, folder)
    with step("  laying it out as Raspberry Pi OS"):
        shutil.copytree(kernel_folder / kernel.MODULES, root / "usr/lib/modules", symlinks=True)
        run("cp", "--recursive", "--preserve=mode", f"{PACKAGE / 'os'}/.", root)
        shutil.copy(PACKAGE / "os-setup.sh", root / "os-setup.sh")
        run("chroot", root, "/bin/sh", "/os-setup.sh", today, log=folder / "setup.log")
        (root / "os-setup.sh").unlink()
    image = folder / f"{today}-raspios-{settings.os_suite}-amd64-lite.img"
    with step("  partitions and file systems"):
        _image(root, image, folder)
        shutil.rmtree(root)
    with step(f"  compressing {image.stat().st_size >> 20} MiB"):
        # The lowest level: the image only travels within this machine.
        run("xz", "-T0", "-0", image)
    write_sha256(image.with_name(f"{image.name}.xz"))
    shutil.rmtree(folder / "boot")


def _debian(settings: Settings, root: Path, folder: Path) -> None:
    options = [f"--dpkgopt=path-exclude=/usr/share/{pattern}" for pattern in LEFT_OUT]
    # A mount namespace of its own: whatever is killed, no mount outlives it.
    run(
        "unshare",
        "--mount",
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        "--format=directory",
        "--aptopt=APT::Install-Recommends false",
        "--aptopt=Acquire::Languages none",
        "--aptopt=Acquire::IndexTargets::deb::DEP-11::DefaultEnabled false",
        # A build that fails is deleted as a whole: dpkg need not wait for the disk.
        "--dpkgopt=force-unsafe-io",
        *options,
        f"--include={','.join(PACKAGES)}",
        settings.os_suite,
        root,
        *apt.mmdebstrap_sources(settings.os_suite),
        env={**os.environ, "TMPDIR": str(folder)},
        log=folder / "mmdebstrap.log",
    )


def _image(root: Path, image: Path, folder: Path) -> None:
    """Partition table, FAT and ext4, written into a sparse file without mounting anything."""
    disk_id = secrets.token_hex(4)
    (root / "etc/fstab").write_text(FSTAB.format(disk_id=disk_id))
    boot = folder / "boot"
    boot.mkdir()
    (boot / "cmdline.txt").write_text(CMDLINE.format(disk_id=disk_id))
    (boot / "config.txt").write_text(CONFIG)
    shutil.copy(root / "etc/rpi-issue", boot / "issue.txt")
    for name, text in TEMPLATES.items():
        (boot / name).write_text(text)

    # The size rule of pi-gen: contents and a fifth, and 200 MiB.
    contents = int(run("du", "--summarize", "--block-size=1M", root).split()[0])
    root_size = (contents * 12 // 10 + 200) // 4 * 4 * MIB
    with image.open("wb") as handle:
        handle.truncate(ROOT_START + root_size)
    table = (
        f"label: dos\nlabel-id: 0x{disk_id}\nunit: sectors\n"
        f"start={BOOT_START // 512}, size={BOOT_SIZE // 512}, type=c\n"
        f"start={ROOT_START // 512}, size={root_size // 512}, type=83\n"
    )
    run("sfdisk", "--quiet", image, input=table)
    fat: list[str | Path] = [f"--offset={BOOT_START // 512}", "-F", "32", "-s", "1", "-n", "bootfs"]
    run("mkfs.vfat", *fat, image, f"{BOOT_SIZE // 1024}")
    run("mcopy", "-i", f"{image}@@{BOOT_START}", *sorted(boot.iterdir()), "::")
    ext4: list[str | Path] = ["-q", "-L", "rootfs", "-O", "^64bit,^huge_file", "-E", f"offset={ROOT_START}", "-d", root]
    run("mkfs.ext4", *ext4, image, f"{root_size // 1024}k")


def write_sha256(path: Path) -> None:
    """Write `<file>.sha256` beside a file, in the form that `sha256sum -c` reads."""
    with path.open("rb") as handle:
        digest_ = hashlib.file_digest(handle, "sha256").hexdigest()
    path.with_name(f"{path.name}.sha256").write_text(f"{digest_}  {path.name}\n")
