"""Downloads over real HTTP: by digest, resumed, and nothing kept that is invalid."""

import hashlib
import http.server
import lzma
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils import fetch as downloads
from ansible_collections.edge_ai.cluster.plugins.module_utils.fetch import FetchError
from ansible_collections.edge_ai.cluster.plugins.module_utils.files import sha256_of
from ansible_collections.edge_ai.cluster.plugins.module_utils.flash import fetch as images
from ansible_collections.edge_ai.cluster.plugins.module_utils.flash.fetch import sidecar_digest, unpack


class Mirror(http.server.ThreadingHTTPServer):
    """Serves a directory, understands Range, and can close the connection after some bytes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.break_after = 0
        #: Instead of the right one; "" for none.
        self.length: str | None = None
        self.requests: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        path = self.server.root / self.path.lstrip("/")
        wanted = self.headers.get("Range", "")
        self.server.requests.append(f"{self.path} {wanted}".strip())
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        length = str(len(content) - start) if self.server.length is None else self.server.length
        if length:
            self.send_header("Content-Length", length)
        self.end_headers()
        content = content[start:]
        if self.server.break_after:
            content, self.server.break_after = content[: self.server.break_after], 0
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def fetch(url: str, digest: str, cache: Path, timeout: float) -> tuple[Path, bool]:
    """The packed image in a cache, and whether it had to be downloaded."""
    packed = cache / f"{digest}.img.xz"
    return packed, downloads.fetch(images.image(url, timeout), digest, packed)


@pytest.fixture
def mirror(packed: Path) -> Iterator[Mirror]:
    server = Mirror(packed.parent)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_image_is_downloaded_once_and_unpacked_once(mirror: Mirror, packed: Path, image: Path, tmp_path: Path) -> None:
    digest = sha256_of(packed)
    path, downloaded = fetch(f"{mirror.url}/os.img.xz", digest, tmp_path, 5)
    assert downloaded and path == tmp_path / f"{digest}.img.xz"
    raw, unpacked = unpack(path)
    assert unpacked and raw.read_bytes() == image.read_bytes()
    assert raw.stat().st_blocks * 512 < raw.stat().st_size  # sparse
    mirror.requests.clear()
    assert fetch(f"{mirror.url}/os.img.xz", digest, tmp_path, 5) == (path, False)
    assert unpack(path) == (raw, False)
    assert mirror.requests == []


def test_interrupted_download_is_resumed(mirror: Mirror, packed: Path, tmp_path: Path) -> None:
    mirror.break_after = 100_000
    fetch(f"{mirror.url}/os.img.xz", sha256_of(packed), tmp_path, 5)
    assert mirror.requests == ["/os.img.xz", "/os.img.xz bytes=100000-"]


def test_partial_file_of_a_killed_run_is_resumed(mirror: Mirror, packed: Path, tmp_path: Path) -> None:
    digest = sha256_of(packed)
    (tmp_path / f"{digest}.part").write_bytes(packed.read_bytes()[:5000])
    fetch(f"{mirror.url}/os.img.xz", digest, tmp_path, 5)
    assert mirror.requests == ["/os.img.xz bytes=5000-"]


def test_partial_file_of_another_image_is_downloaded_again(mirror: Mirror, packed: Path, tmp_path: Path) -> None:
    digest = sha256_of(packed)
    (tmp_path / f"{digest}.part").write_bytes(b"something else")
    fetch(f"{mirror.url}/os.img.xz", digest, tmp_path, 5)
    assert mirror.requests == ["/os.img.xz bytes=14-", "/os.img.xz"]


def test_wrong_digest_leaves_nothing_and_names_both(mirror: Mirror, packed: Path, tmp_path: Path) -> None:
    wrong = hashlib.sha256(b"wrong").hexdigest()
    with pytest.raises(FetchError) as caught:
        fetch(f"{mirror.url}/os.img.xz", wrong, tmp_path, 5)
    for part in (wrong, sha256_of(packed), f"{mirror.url}/os.img.xz"):
        assert part in str(caught.value)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_missing_image_is_reported_at_once(mirror: Mirror, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"HTTP 404.*correct flash_image_url"):
        fetch(f"{mirror.url}/none.img.xz", "0" * 64, tmp_path, 5)
    assert len(mirror.requests) == 1


def test_unreachable_server_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="check flash_image_url and the network"):
        fetch("http://127.0.0.1:9/os.img.xz", "0" * 64, tmp_path, 1)


def test_published_digest_is_read(mirror: Mirror, packed: Path) -> None:
    sidecar = packed.with_name("os.img.xz.sha256")
    sidecar.write_text(f"{sha256_of(packed).upper()}  os.img.xz\n")
    assert sidecar_digest(f"{mirror.url}/os.img.xz", 5) == sha256_of(packed)
    sidecar.write_text("<html>not found</html>")
    with pytest.raises(FetchError, match="set flash_image_sha256"):
        sidecar_digest(f"{mirror.url}/os.img.xz", 5)


def test_file_with_the_right_digest_that_is_not_an_image_is_reported(tmp_path: Path) -> None:
    packed = tmp_path / "x.img.xz"
    packed.write_bytes(b"text")
    with pytest.raises(FetchError, match="is not a disk image"):
        unpack(packed)
    packed.write_bytes(b"\xfd7zXZ\x00broken")
    with pytest.raises(FetchError, match="not an xz file"):
        unpack(packed)
    assert not (tmp_path / "x.img").exists()


def test_raw_image_needs_no_unpacking(image: Path, tmp_path: Path) -> None:
    packed = tmp_path / "y.img.xz"
    packed.write_bytes(image.read_bytes())
    raw, _ = unpack(packed)
    assert raw.read_bytes() == image.read_bytes()


@pytest.mark.parametrize("length", [None, "", "²"])
def test_what_is_longer_than_any_image_is_not_downloaded(
    mirror: Mirror, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: str | None
) -> None:
    """With a length, without one, and with one that is no number of HTTP."""
    mirror.length = length
    monkeypatch.setattr(images, "LONGEST", 1000)
    monkeypatch.setattr(downloads, "CHUNK", 100)
    with pytest.raises(FetchError, match=r"has more than 1000 bytes.*correct flash_image_url"):
        fetch(f"{mirror.url}/os.img.xz", sha256_of(packed), tmp_path, 5)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    monkeypatch.setattr(images, "LONGEST", packed.stat().st_size)
    assert fetch(f"{mirror.url}/os.img.xz", sha256_of(packed), tmp_path, 5)[1]


def test_what_unpacks_to_more_than_any_image_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = tmp_path / "z.img.xz"
    packed.write_bytes(lzma.compress(b"x" * 4096))
    monkeypatch.setattr(images, "LONGEST_UNPACKED", 4095)
    monkeypatch.setattr(images, "CHUNK", 512)
    with pytest.raises(FetchError, match="unpacks to more than 4095 bytes"):
        unpack(packed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["z.img.xz", "z.lock"]
    monkeypatch.setattr(images, "LONGEST_UNPACKED", 4096)
    assert unpack(packed)[0].stat().st_size == 4096
