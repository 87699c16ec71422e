"""Downloads to the control node, with a limit of bytes: a server may send without end. Those of a digest are resumable.

Proxies are those of the environment, and passwords those of ~/.netrc.
"""

from __future__ import annotations

import fcntl
import http.client
import netrc
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ansible.module_utils.urls import open_url

from .files import settle, sha256_of

CHUNK = 1024 * 1024


class FetchError(Exception):
    """It cannot be downloaded; the text says what to do."""


@dataclass(frozen=True)
class Source:
    """What is downloaded."""

    url: str
    timeout: float
    """Seconds of one wait."""
    limit: int
    """Bytes that it has at most."""
    setting: str
    """The variable that the URL is from."""
    digest: str = ""
    """The variable that its SHA-256 is from."""

    def open(self, offset: int = 0) -> Any:
        """The server's answer, from a byte on where the server can. Raises OSError, HTTPException, FetchError."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        try:
            return open_url(
                self.url, headers=headers, timeout=self.timeout, http_agent="edge-ai-cluster", decompress=False
            )
        except (netrc.NetrcParseError, ValueError) as error:
            raise FetchError(
                f"{self.url} cannot be downloaded ({error}): correct ~/.netrc or {self.setting}"
            ) from error

    def too_long(self) -> NoReturn:
        """It has more bytes than it can have."""
        raise FetchError(f"{self.url} has more than {self.limit} bytes, which no such file has: correct {self.setting}")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file: boards that need the same file wait for the one that downloads it."""
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read(source: Source) -> bytes:
    """What a URL has, as it is there now. Raises FetchError."""
    try:
        with source.open() as response:
            content: bytes = response.read(source.limit + 1)
    except (OSError, http.client.HTTPException) as error:
        raise FetchError(
            f"{source.url} cannot be downloaded ({error}): check {source.setting} and the network, then run again"
        ) from error
    if len(content) > source.limit:
        source.too_long()
    return content


def download(source: Source, part: Path) -> str:
    """Download to `part`, resuming an earlier attempt; returns the SHA-256 of the complete file.

    Raises FetchError after three attempts without a byte of progress, and for more bytes than the limit.
    """
    url, attempts = source.url, 0
    while True:
        have = part.stat().st_size if part.exists() else 0
        try:
            with source.open(have) as response:
                resumed = have and getattr(response, "status", None) == 206
                total = _total(response, have if resumed else 0)
                size = have if resumed else 0
                with part.open("ab" if resumed else "wb") as target:
                    while max(size, total or 0) <= source.limit and (data := response.read(CHUNK)):
                        target.write(data)
                        size += len(data)
            if max(size, total or 0) > source.limit:
                part.unlink()
                source.too_long()
            size = part.stat().st_size
            if total is None or size == total:
                return sha256_of(part)
            reason = f"it ended after {size} of {total} bytes"
        except urllib.error.HTTPError as error:
            if error.code == 416 and have:  # nothing left to resume
                return sha256_of(part)
            if error.code < 500:
                raise FetchError(f"{url} cannot be downloaded (HTTP {error.code}): correct {source.setting}") from error
            reason = f"HTTP {error.code}"
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) == 28:
                raise FetchError(f"{part.parent} is full: free some space, then run again") from error
            reason = str(error)
        size = part.stat().st_size if part.exists() else 0
        attempts = 0 if size > have else attempts + 1
        if attempts >= 3:
            raise FetchError(
                f"{url} cannot be downloaded ({reason}): check {source.setting} and the network, then run again"
            )
        time.sleep(attempts)


def _total(response: http.client.HTTPResponse, offset: int) -> int | None:
    length = response.headers.get("Content-Length")
    return int(length) + offset if length and length.isascii() and length.isdigit() else None


def fetch(source: Source, sha256: str, target: Path) -> bool:
    """Have a file of that digest at `target`; whether it had to be downloaded. One that is there is complete.

    Raises FetchError, also for a wrong digest; the file is removed then.
    """
    with locked(target.with_name(f"{sha256}.lock")):
        if target.exists():
            return False
        part = target.with_name(f"{sha256}.part")
        resumed = part.exists()
        actual = download(source, part)
        if actual != sha256 and resumed:  # the partial file may be of another download: start again
            part.unlink()
            actual = download(source, part)
        if actual != sha256:
            part.unlink()
            raise FetchError(
                f"wrong digest, nothing was written: expected {sha256}, got {actual} from {source.url}: "
                f"correct {source.digest}, or do not trust the source"
            )
        settle(part, target)
        return True
