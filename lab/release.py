"""The k3s release on the mirror: built by lab/k3s from upstream Kubernetes."""

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
    sources = [path for path in sorted(SOURCE.rglob("*")) if path.is_file() and not path.match("*_test.go")]
    return digest_of([settings.k3s_version, *(path for path in sources if path.suffix != ".md")], PACKAGE)


def build(settings: Settings, cache: Cache, again: bool = False) -> Path:
    """Folder with the files of the release.

    Raises:
        LabError: lab/k3s/build.sh is missing, fails, or leaves a file out.
    """
    if not SCRIPT.is_file():
        raise LabError("lab/k3s/build.sh is missing, so there is no k3s release to serve")
    return cache.ensure("k3s", digest(settings), lambda folder: _make(settings, cache, folder), again)


def _make(settings: Settings, cache: Cache, folder: Path) -> None:
    # Go is found on PATH first, else in the virtual environment that runs the lab.
    path = f"{os.environ.get('PATH', '')}:{Path(sys.executable).parent}"
    log = cache.root / "k3s.log"
    log.unlink(missing_ok=True)
    run("sh", SCRIPT, folder, settings.k3s_version, env={**os.environ, "PATH": path}, log=log, show=True)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise LabError(f"lab/k3s/build.sh left out {', '.join(missing)}; its output is in {log}")
    mirror.write_sums(folder, SUMS)
