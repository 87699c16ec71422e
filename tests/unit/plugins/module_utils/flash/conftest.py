"""A small OS image, plain and packed."""

import lzma
from pathlib import Path

import flash_helpers
import pytest


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flash_helpers.build_image(tmp_path_factory.mktemp("image") / "os.img")


@pytest.fixture(scope="session")
def packed(image: Path) -> Path:
    path = image.with_name("os.img.xz")
    path.write_bytes(lzma.compress(image.read_bytes(), preset=0))
    return path
