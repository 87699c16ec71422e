"""The boards' kernel: Debian's User-mode Linux, made to run on this machine."""

import shutil
from pathlib import Path

from lab import apt, netfilter
from lab.cache import Cache, digest_of
from lab.command import run
from lab.errors import LabError
from lab.settings import PACKAGE, Settings

BINARY = "linux.uml"
MODULES = "modules"


def digest(settings: Settings) -> str:
    """Digest of what the kernel is made from: the release and this recipe."""
    return digest_of([settings.kernel_suite, PACKAGE / "kernel.py", PACKAGE / "netfilter.py"], PACKAGE)


def build(settings: Settings, cache: Cache, again: bool = False) -> Path:
    """Folder with `linux.uml` (runs as it is on this machine) and `modules/<release>` for the cards."""
    return cache.ensure("kernel", digest(settings), lambda folder: _make(settings, cache, folder), again)


def _make(settings: Settings, cache: Cache, folder: Path) -> None:
    fetched = folder / "fetched"
    # libc6 of the same release comes along: the kernel needs glibc >= 2.38, and Debian 12 has 2.36. It is
    # used everywhere, so that there is one way to run the kernel and not two.
    apt.fetch(["user-mode-linux", "libc6"], settings.kernel_suite, fetched)
    root = fetched / "root"
    if not (root / "usr/bin/linux.uml").is_file():
        raise LabError(f"the package user-mode-linux of {settings.kernel_suite} holds no /usr/bin/linux.uml")
    final = cache.path("kernel", digest(settings))
    shutil.copytree(root / "usr/lib/x86_64-linux-gnu", folder / "libc", symlinks=True)
    shutil.copy2(root / "usr/bin/linux.uml", folder / BINARY)
    loader = final / "libc" / "ld-linux-x86-64.so.2"
    run("patchelf", "--set-interpreter", loader, "--set-rpath", final / "libc", folder / BINARY)
    shutil.copytree(root / "usr/lib/uml/modules", folder / MODULES, symlinks=True)
    release = next((folder / MODULES).iterdir())
    source = netfilter.source_package(release.name)
    apt.fetch([source], settings.kernel_suite, folder / "source")
    netfilter.add(release, folder / "source/root/usr/src" / f"{source}.tar.xz", folder / "build")
    # Debugging symbols are four fifths of the modules.
    modules = sorted((folder / MODULES).rglob("*.ko"))
    run("strip", "--strip-debug", *modules)
    for scratch in (fetched, folder / "source", folder / "build"):
        shutil.rmtree(scratch)
