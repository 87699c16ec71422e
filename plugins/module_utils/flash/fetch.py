"""An OS image on the control node: its published digest, and how it is unpacked, once.

A file with its final name is complete.
"""

from __future__ import annotations

import http.client
import lzma
import os
import re
from collections.abc import Callable
from pathlib import Path

from ..fetch import CHUNK, FetchError, Source, locked
from ..files import settle

XZ_MAGIC = b"\xfd7zXZ\x00"
#: Longest image (bytes) as it is downloaded, and unpacked: a small file may unpack to any size.
LONGEST, LONGEST_UNPACKED = 16 << 30, 64 << 30


def image(url: str, timeout: float) -> Source:
    """The packed image at a URL."""
    return Source(url, timeout, LONGEST, "flash_image_url", "flash_image_sha256")


def sidecar_digest(url: str, timeout: float) -> str:
    """The digest published beside an image (`<url>.sha256`, sha256sum's format).

    Raises FetchError.
    """
    try:
        with image(f"{url}.sha256", timeout).open() as response:
            text = response.read(4096).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise FetchError(
            f"flash_image_sha256 is empty and {url}.sha256 cannot be read ({error}): set flash_image_sha256"
        ) from error
    match = re.match(r"\s*([0-9a-fA-F]{64})\b", text)
    if not match:
        raise FetchError(f"{url}.sha256 does not start with a SHA-256: set flash_image_sha256")
    return match[1].lower()


def unpack(packed: Path) -> tuple[Path, bool]:
    """The raw image beside a packed one, sparse; second value: whether it had to be unpacked.

    Raises FetchError when it is not a disk image, has more than LONGEST_UNPACKED bytes, or the disk is full.
    """
    raw = packed.with_name(packed.name.removesuffix(".xz"))
    with locked(packed.with_name(packed.name.removesuffix(".img.xz") + ".lock")):
        if raw.exists():
            return raw, False
        part = raw.with_name(f"{raw.name}.part")
        with packed.open("rb") as probe:
            is_xz = probe.read(6) == XZ_MAGIC
        opener: Callable[..., object] = lzma.open if is_xz else open
        try:
            with opener(packed, "rb") as source, part.open("wb") as target:  # type: ignore[attr-defined]
                size = 0
                while data := source.read(CHUNK):
                    if data.count(0) == len(data):
                        target.seek(len(data), os.SEEK_CUR)
                    else:
                        target.write(data)
                    size += len(data)
                    if size > LONGEST_UNPACKED:
                        break
                target.truncate(size)
        except lzma.LZMAError as error:
            part.unlink(missing_ok=True)
            raise FetchError(
                f"{packed} has the right digest but is not an xz file ({error}): correct flash_image_url"
            ) from error
        except OSError as error:
            part.unlink(missing_ok=True)
            raise FetchError(
                f"{raw} cannot be written ({error.strerror}): free some space in cluster_cache_dir"
            ) from error
        if size > LONGEST_UNPACKED:
            part.unlink()
            raise FetchError(
                f"{packed} unpacks to more than {LONGEST_UNPACKED} bytes, which no image does: correct flash_image_url"
            )
        if size % 512 or not size:
            part.unlink()
            raise FetchError(f"{packed} is not a disk image ({size} bytes unpacked): correct flash_image_url")
        settle(part, raw)
        return raw, True
