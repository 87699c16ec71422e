"""The image for boards with `arch = "arm64"`: that of lab/osimage.py for this architecture, and with a kernel.

Maintainer scripts are programs for arm64, which qemu-user runs here: 10 to 15 minutes instead of one. As on Raspberry
Pi OS the firmware finds kernel and initramfs on the boot partition. The kernel is Debian's: Raspberry Pi's own knows no
virtual machine.
"""

import os
import shutil
from datetime import date
from pathlib import Path

from lab import apt, osimage
from lab.cache import Cache, digest_of
from lab.command import run, succeeds
from lab.errors import LabError
from lab.progress import step
from lab.settings import PACKAGE, Settings

KERNEL = "kernel8.img"
INITRAMFS = "initramfs8"
"""Names that the firmware of a Raspberry Pi looks for."""

PACKAGES = (*osimage.PACKAGES, "initramfs-tools", "linux-image-arm64")

LEFT_OUT = (
    *(f"/usr/share/{pattern}" for pattern in osimage.LEFT_OUT),
    # Four fifths of the kernel's modules: hardware that a virtual machine does not have.
    *(
        f"/usr/lib/modules/*/kernel/{part}/*"
        for part in (
            "sound",
            *(f"drivers/{kind}" for kind in ("gpu", "iio", "infiniband", "media", "scsi", "staging", "usb")),
            "drivers/net/ethernet",
            "drivers/net/wireless",
        )
    ),
)

MODULES = ("virtio_mmio", "virtio_blk", "ext4")
"""What the initramfs needs to find the card's root partition."""


def digest(settings: Settings) -> str:
    """Digest of what the image is made from: release, the files of lab/os and both recipes."""
    return digest_of([osimage.digest(settings), Path(__file__)], PACKAGE)


def build(settings: Settings, cache: Cache, again: bool = False) -> Path:
    """Folder with one `<date>-raspios-<suite>-arm64-lite.img.xz` and its `.sha256`.

    Raises:
        LabError: this machine does not run programs for arm64, or a step failed.
    """
    return cache.ensure("os-image-arm64", digest(settings), lambda folder: _make(settings, folder), again)


def _make(settings: Settings, folder: Path) -> None:
    require_emulation()
    today = date.today().isoformat()
    root = folder / "root"
    with step(f"  Debian {settings.os_suite} for arm64 with {len(PACKAGES)} packages: some ten minutes"):
        _debian(settings, root, folder)
    with step("  laying it out as Raspberry Pi OS"):
        run("cp", "--recursive", "--preserve=mode", f"{PACKAGE / 'os'}/.", root)
        shutil.copy(PACKAGE / "os-setup.sh", root / "os-setup.sh")
        run("chroot", root, "/bin/sh", "/os-setup.sh", today, log=folder / "setup.log")
        (root / "os-setup.sh").unlink()
        issue = root / "etc/rpi-issue"
        issue.write_text(issue.read_text().replace("x86_64", "arm64"))
    image = folder / f"{today}-raspios-{settings.os_suite}-arm64-lite.img"
    with step("  partitions and file systems"):
        firmware = folder / "firmware"
        firmware.mkdir()
        for pattern, name in (("vmlinuz-*", KERNEL), ("initrd.img-*", INITRAMFS)):
            next((root / "boot").glob(pattern)).rename(firmware / name)
        osimage._image(root, image, folder)
        run("mcopy", "-i", f"{image}@@{osimage.BOOT_START}", *sorted(firmware.iterdir()), "::")
        shutil.rmtree(root)
    with step(f"  compressing {image.stat().st_size >> 20} MiB"):
        run("xz", "-T0", "-0", image)
    osimage.write_sha256(image.with_name(f"{image.name}.xz"))
    for scratch in ("boot", "firmware"):
        shutil.rmtree(folder / scratch)


def require_emulation() -> None:
    """Raises LabError when this machine does not run programs for arm64."""
    if not succeeds("arch-test", "arm64"):
        raise LabError("this machine does not run programs for arm64: tools/setup --arm64 installs what does")


def _debian(settings: Settings, root: Path, folder: Path) -> None:
    config = folder / "initramfs"
    for path, text in (
        ("etc/initramfs-tools/conf.d/edge-lab", "MODULES=list\n"),
        ("usr/share/initramfs-tools/modules.d/edge-lab", "\n".join(MODULES) + "\n"),
    ):
        (config / path).parent.mkdir(parents=True)
        (config / path).write_text(text)
    run(
        "unshare",
        "--mount",
        "mmdebstrap",
        "--mode=root",
        "--architectures=arm64",
        "--variant=minbase",
        "--format=directory",
        "--aptopt=APT::Install-Recommends false",
        "--aptopt=Acquire::Languages none",
        "--aptopt=Acquire::IndexTargets::deb::DEP-11::DefaultEnabled false",
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
        # Before the kernel's package makes the initramfs.
        f"--essential-hook=cp --recursive {config}/. $1",
        f"--include={','.join(PACKAGES)}",
        settings.os_suite,
        root,
        *apt.mmdebstrap_sources(settings.os_suite),
        env={**os.environ, "TMPDIR": str(folder)},
        log=folder / "mmdebstrap.log",
    )
    shutil.rmtree(config)
