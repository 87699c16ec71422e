"""The k3s releases on the mirror: built by lab/k3s from upstream Kubernetes.

There are two, of the same sources with another version: `k3s`, and on demand `k3s-next` to try upgrades with.
"""

import os
import sys
from pathlib import Path

from lab import mirror
from lab.cache import Cache, digest_of
from lab.command import run
from lab.errors import LabError
from lab.settings import PACKAGE, Settings

SOURCE = PACKAGE / "k3s"
SCRIPT = SOURCE / "build.sh"
FILES = ("k3s", "k3s-airgap-images-amd64.tar.zst", "k3s-images.txt")
SUMS = "sha256sum-amd64.txt"


def digest(settings: Settings) -> str:
    """Digest of what the release is made from: the sources in lab/k3s and the version."""
    return _digest(settings.k3s_version)


def next_digest(settings: Settings) -> str:
    """The same for the release to upgrade to."""
    return _digest(settings.k3s_next)


def _digest(version: str) -> str:
    sources = [path for path in sorted(SOURCE.rglob("*")) if path.is_file() and not path.match("*_test.go")]
    return digest_of([version, *(path for path in sources if path.suffix != ".md")], PACKAGE)


def build(settings: Settings, cache: Cache, again: bool = False) -> Path:
    """Folder with the files of the release.

    Raises:
        LabError: lab/k3s/build.sh is missing, fails, or leaves a file out.
    """
    return _ensure("k3s", settings.k3s_version, cache, again)


def build_next(settings: Settings, cache: Cache, again: bool = False) -> Path:
    """The same for the release to upgrade to: with Go's cache warm, only the linker has work."""
    return _ensure("k3s-next", settings.k3s_next, cache, again)


def _ensure(what: str, version: str, cache: Cache, again: bool) -> Path:
    if not SCRIPT.is_file():
        raise LabError("lab/k3s/build.sh is missing, so there is no k3s release to serve")
    return cache.ensure(what, _digest(version), lambda folder: _make(what, version, cache, folder), again)


def _make(what: str, version: str, cache: Cache, folder: Path) -> None:
    # Go is found on PATH first, else in the virtual environment that runs the lab.
    path = f"{os.environ.get('PATH', '')}:{Path(sys.executable).parent}"
    log = cache.root / f"{what}.log"
    log.unlink(missing_ok=True)
    run("sh", SCRIPT, folder, version, env={**os.environ, "PATH": path}, log=log, show=True)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise LabError(f"lab/k3s/build.sh left out {', '.join(missing)}; its output is in {log}")
    mirror.write_sums(folder, SUMS)
