"""Download of an OS image: by digest, resumable, unpacked once. A file with its final name is complete."""

from __future__ import annotations

import fcntl
import http.client
import lzma
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..files import settle, sha256_of

CHUNK = 1024 * 1024
XZ_MAGIC = b"\xfd7zXZ\x00"
#: Longest image (bytes) as it is downloaded, and unpacked: a server may send without end, and a small file unpack to
#: any size. Its digest is only known when all is there.
LONGEST, LONGEST_UNPACKED = 16 << 30, 64 << 30


class FetchError(Exception):
    """The image cannot be downloaded; the text says what to do."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file: boards that need the same image wait for the one that downloads it."""
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def sidecar_digest(url: str, timeout: float) -> str:
    """The digest published beside an image (`<url>.sha256`, sha256sum's format).

    Raises FetchError.
    """
    try:
        with urllib.request.urlopen(f"{url}.sha256", timeout=timeout) as response:
            text = response.read(4096).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise FetchError(
            f"flash_image_sha256 is empty and {url}.sha256 cannot be read ({error}): set flash_image_sha256"
        ) from error
    match = re.match(r"\s*([0-9a-fA-F]{64})\b", text)
    if not match:
        raise FetchError(f"{url}.sha256 does not start with a SHA-256: set flash_image_sha256")
    return match[1].lower()


def download(url: str, part: Path, timeout: float) -> str:
    """Download `url` to `part`, resuming an earlier attempt; returns the SHA-256 of the complete file.

    Raises FetchError after three attempts without a byte of progress, and for more than LONGEST bytes.
    """
    attempts = 0
    while True:
        have = part.stat().st_size if part.exists() else 0
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                resumed = have and getattr(response, "status", None) == 206
                total = _total(response, have if resumed else 0)
                size = have if resumed else 0
                with part.open("ab" if resumed else "wb") as target:
                    while size <= LONGEST and (total or 0) <= LONGEST and (data := response.read(CHUNK)):
                        target.write(data)
                        size += len(data)
            if size > LONGEST or (total or 0) > LONGEST:
                part.unlink()
                raise FetchError(f"{url} has more than {LONGEST} bytes, which no image has: correct flash_image_url")
            size = part.stat().st_size
            if total is None or size == total:
                return sha256_of(part)
            reason = f"it ended after {size} of {total} bytes"
        except urllib.error.HTTPError as error:
            if error.code == 416 and have:  # nothing left to resume
                return sha256_of(part)
            if error.code < 500:
                raise FetchError(f"{url} cannot be downloaded (HTTP {error.code}): correct flash_image_url") from error
            reason = f"HTTP {error.code}"
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) == 28:
                raise FetchError(f"{part.parent} is full: free some space, then run again") from error
            reason = str(error)
        size = part.stat().st_size if part.exists() else 0
        attempts = 0 if size > have else attempts + 1
        if attempts >= 3:
            raise FetchError(
                f"{url} cannot be downloaded ({reason}): check flash_image_url and the network, then run again"
            )
        time.sleep(attempts)


def _total(response: http.client.HTTPResponse, offset: int) -> int | None:
    length = response.headers.get("Content-Length")
    return int(length) + offset if length and length.isascii() and length.isdigit() else None


def fetch(url: str, sha256: str, cache: Path, timeout: float) -> tuple[Path, bool]:
    """The packed image `<cache>/<sha256>.img.xz`; second value: whether it had to be downloaded.

    Raises FetchError, also for a wrong digest; the file is removed then.
    """
    packed = cache / f"{sha256}.img.xz"
    with locked(cache / f"{sha256}.lock"):
        if packed.exists():
            return packed, False
        part = cache / f"{sha256}.part"
        resumed = part.exists()
        actual = download(url, part, timeout)
        if actual != sha256 and resumed:  # the partial file may be of another image: start again
            part.unlink()
            actual = download(url, part, timeout)
        if actual != sha256:
            part.unlink()
            raise FetchError(
                f"wrong digest, nothing was written: expected {sha256}, got {actual} from {url}: "
                f"correct flash_image_sha256, or do not trust the source"
            )
        settle(part, packed)
        return packed, True


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
