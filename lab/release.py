"""The k3s releases on the mirror: built by lab/k3s from upstream Kubernetes.

There are two, of the same sources with another version: `k3s`, and on demand `k3s-next` to try upgrades with. On demand
there is the first for boards of arm64 too, `k3s-arm64`: Go compiles it, and qemu-user runs what packs its archives.
"""

import os
import sys
from pathlib import Path

from lab import mirror, osimage_arm64
from lab.cache import Cache, digest_of
from lab.command import run
from lab.errors import LabError
from lab.settings import PACKAGE, Settings

SOURCE = PACKAGE / "k3s"
SCRIPT = SOURCE / "build.sh"
BINARY = {"amd64": "k3s", "arm64": "k3s-arm64"}
"""Name of the program on k3s's own download page, by the architecture."""


def digest(settings: Settings) -> str:
    """Digest of what the release is made from: the sources in lab/k3s and the version."""
    return _digest(settings.k3s_version)


def next_digest(settings: Settings) -> str:
    """The same for the release to upgrade to."""
    return _digest(settings.k3s_next)


def arm64_digest(settings: Settings) -> str:
    """The same for the first release on arm64."""
    return digest_of([digest(settings), "arm64"], PACKAGE)


def _digest(version: str) -> str:
    sources = [path for path in sorted(SOURCE.rglob("*")) if path.is_file() and not path.match("*_test.go")]
    return digest_of([version, *(path for path in sources if path.suffix != ".md")], PACKAGE)


def build(settings: Settings, cache: Cache, again: bool = False) -> Path:
    """Folder with the files of the release.

    Raises:
        LabError: lab/k3s/build.sh is missing, fails, or leaves a file out.
    """
    return _ensure("k3s", settings.k3s_version, digest(settings), cache, again)


def build_next(settings: Settings, cache: Cache, again: bool = False) -> Path:
    """The same for the release to upgrade to: with Go's cache warm, only the linker has work."""
    return _ensure("k3s-next", settings.k3s_next, next_digest(settings), cache, again)


def build_arm64(settings: Settings, cache: Cache, again: bool = False) -> Path:
    """The same for boards of arm64.

    Raises:
        LabError: as build, or this machine does not run programs for arm64.
    """

    def make(folder: Path) -> None:
        osimage_arm64.require_emulation()
        _make("k3s-arm64", settings.k3s_version, cache, folder, GOARCH="arm64")

    return cache.ensure("k3s-arm64", arm64_digest(settings), make, again)


def _ensure(what: str, version: str, digest_: str, cache: Cache, again: bool) -> Path:
    return cache.ensure(what, digest_, lambda folder: _make(what, version, cache, folder), again)


def _make(what: str, version: str, cache: Cache, folder: Path, **more: str) -> None:
    if not SCRIPT.is_file():
        raise LabError("lab/k3s/build.sh is missing, so there is no k3s release to serve")
    # Go is found on PATH first, else in the virtual environment that runs the lab.
    path = f"{os.environ.get('PATH', '')}:{Path(sys.executable).parent}"
    log = cache.root / f"{what}.log"
    log.unlink(missing_ok=True)
    run("sh", SCRIPT, folder, version, env={**os.environ, "PATH": path, **more}, log=log, show=True)
    arch = more.get("GOARCH", "amd64")
    files = ("k3s", f"k3s-airgap-images-{arch}.tar.zst", "k3s-images.txt")
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise LabError(f"lab/k3s/build.sh left out {', '.join(missing)}; its output is in {log}")
    (folder / "k3s").rename(folder / BINARY[arch])
    mirror.write_sums(folder, f"sha256sum-{arch}.txt")
