"""The images of both architectures, taken from the role's cache or built, and unpacked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils import dataset
from ansible_collections.edge_ai.cluster.plugins.module_utils.container_image.archive import Archive

from tests.support.image import ARCHITECTURES, CACHE, USER, Build, Image, unpack
from tests.support.paths import COLLECTIONS, ROOT

PROGRAM = "ansible_collections.edge_ai.cluster.plugins.module_utils.container_image"
#: Name of the locks to name of the image, as in roles/container_image.
NAMES = {"requirements": "localhost/edge-ai/tensorflow-jupyter", "requirements-lite": "localhost/edge-ai/litert"}


@pytest.fixture(scope="session")
def build() -> Build:
    """Builds an image as the role does, or takes it from the cache: its archives by architecture."""

    def run(
        requirements: str, *options: str, cache: Path = CACHE / "images-oci", **environment: str
    ) -> dict[str, Archive]:
        argv = [sys.executable, "-m", PROGRAM, "build", f"--context={ROOT / 'docker'}", f"--name={NAMES[requirements]}"]
        argv += [f"--requirements={requirements}", f"--cache={cache}", *options]
        done = subprocess.run(
            argv, cwd=COLLECTIONS, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=False
        )
        print(done.stdout)
        assert done.returncode == 0, f"{' '.join(argv)} failed: see above"
        result = json.loads(done.stdout.splitlines()[-1].removeprefix("RESULT "))
        return {arch: Archive(**known) for arch, known in result["archives"].items()}

    return run


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder on the cache's disk: /tmp may be in memory."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=".arm64-image-") as name:
        folder = Path(name)
        # The images' user must get through.
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="session")
def small(build: Build, scratch: Path) -> dict[str, Image]:
    """The small image by architecture, on a base from Debian packages."""
    archives = build("requirements-lite", "--source=mmdebstrap", *(f"--arch={arch}" for arch in ARCHITECTURES))
    return {arch: unpack(Path(known.path), arch, scratch / f"small-{arch}") for arch, known in archives.items()}


@pytest.fixture(scope="session")
def large(build: Build, scratch: Path) -> dict[str, Image]:
    """The image with TensorFlow, likewise."""
    archives = build("requirements", "--source=mmdebstrap", *(f"--arch={arch}" for arch in ARCHITECTURES))
    return {arch: unpack(Path(known.path), arch, scratch / f"large-{arch}") for arch, known in archives.items()}


@pytest.fixture(scope="session")
def shared(scratch: Path) -> Path:
    """What the boards share: notebooks and data, writable for the images' user."""
    folder = scratch / "books"
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns("__pycache__"))
    mnist = json.loads((folder / "notebooks/datasets.json").read_text())["mnist"]
    if dataset.wrong_files(CACHE / "mnist", mnist["files"]):
        dataset.fetch(mnist, CACHE / "mnist")
    shutil.copytree(CACHE / "mnist", folder / "data/mnist")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, USER, USER)
    return folder
