"""What a run would download: whether it is there, and whether there is room for it."""

import base64
import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.container_image import inputs
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight import (
    downloads,
)
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.model import (
    Report,
)
from preflight_helpers import NEEDS, board, texts

from tests.support.paths import ROOT


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A web server of tmp_path/site, and the requests that it received."""
    root = tmp_path / "site"
    root.mkdir()
    requests: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **keywords: object) -> None:
            super().__init__(*args, directory=str(root), **keywords)  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            requests.append(self.requestline)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()
    server.server_close()
    thread.join()


def test_full_disk(tmp_path: Path) -> None:
    report = Report()
    downloads.check(board(tmp_path), [], replace(NEEDS, cache_free_mb=2**40, check_urls=False), report)
    (text,) = texts(report)
    assert text.startswith(f"all.yml: cluster_cache_dir = {tmp_path}/cache: ")
    assert "but downloads and the container image need 1099511627776 MiB (preflight_cache_free_mb)" in text


def test_unreachable_downloads(tmp_path: Path) -> None:
    needs = replace(NEEDS, hint="Is the mirror up?")
    report = Report()
    image = "http://127.0.0.1:1/raspios.img.xz"
    downloads.check(board(tmp_path, flash_card="/srv/c", flash_image_url=image), [], needs, report)
    assert texts(report) == [
        f"all.yml: flash_image_url = {image}: {image} is unreachable (Connection refused); Is the mirror up?",
        "all.yml: k3s_release_url = http://127.0.0.1:1/k3s/v1.36.4+k3s1: "
        "http://127.0.0.1:1/k3s/v1.36.4%2Bk3s1/sha256sum-amd64.txt is unreachable (Connection refused); "
        "Is the mirror up?",
    ]


def test_reachable_downloads(tmp_path: Path, site: tuple[str, list[str]]) -> None:
    address, requests = site
    release = tmp_path / "site" / "k3s" / "v1.36.4+k3s1"
    release.mkdir(parents=True)
    (release / "sha256sum-amd64.txt").touch()
    report = Report()
    downloads.check(board(tmp_path, k3s_release_url=f"{address}/k3s"), [], NEEDS, report)
    assert texts(report) == []
    downloads.check(board(tmp_path, k3s_release_url=f"{address}/k4s"), [], NEEDS, report)
    (text,) = texts(report)
    assert text.endswith(
        f"{address}/k4s/v1.36.4%2Bk3s1/sha256sum-amd64.txt returns 404 File not found; "
        "check the URL and the control node's network"
    )
    assert {request.split()[0] for request in requests} == {"HEAD"}


def test_a_mirror_is_asked_with_the_password_of_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            known = base64.b64encode(b"me:hunter2").decode()
            self.send_response(200 if self.headers.get("Authorization") == f"Basic {known}" else 401)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    netrc = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(netrc))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/os.img.xz"
        assert downloads.url_problem(url, 5) == f"{url} returns 401 Unauthorized"
        netrc.write_text("machine 127.0.0.1 login me password hunter2\n")
        assert downloads.url_problem(url, 5) is None
        netrc.write_text("not of such a file\n")
        assert "bad toplevel token 'not'" in str(downloads.url_problem(url, 5))
        server.shutdown()


def test_nothing_is_requested_for_what_is_cached_or_running(tmp_path: Path, site: tuple[str, list[str]]) -> None:
    address, requests = site
    release = tmp_path / "cache" / "k3s" / "v1.36.4+k3s1"
    release.mkdir(parents=True)
    (release / "0123456789abcdef-k3s").touch()
    pin = "a" * 64
    images = tmp_path / "cache" / "images"
    images.mkdir()
    (images / f"{pin}.img.xz").touch()
    archive = tmp_path / "cache" / "images-oci" / f"{inputs.tag(inputs.Inputs(ROOT / 'docker'))}-arm64.tar"
    archive.parent.mkdir()
    archive.touch()
    for values in (
        {"flash_image_sha256": pin},  # in the cache
        {"flash_image_sha256": "", "ansible_port": int(address.rpartition(":")[2])},  # the board is running
    ):
        inventory = board(
            tmp_path,
            flash_card="/srv/c",
            flash_image_url=f"{address}/gone.img.xz",
            k3s_release_url=f"{address}/gone",
            **values,
        )
        report = Report()
        downloads.check(inventory, [], replace(NEEDS, cache_free_mb=2**40), report)
        assert texts(report) == []
    assert not [request for request in requests if "HEAD" in request]
    # Of another image: this one will be built.
    archive.rename(archive.with_name("0123456789ab-arm64.tar"))
    report = Report()
    downloads.check(inventory, [], replace(NEEDS, cache_free_mb=2**40), report)
    assert ["MiB are free there" in text for text in texts(report)] == [True]


def test_disk_of_the_images_is_checked_where_they_are(tmp_path: Path) -> None:
    inventory = board(tmp_path, container_image_cache_dir=f"{tmp_path}/oci", k3s_release_url="")
    report = Report()
    downloads.check(inventory, [], replace(NEEDS, cache_free_mb=2**40, check_urls=False), report)
    assert [text.partition(": ")[2].partition(" = ")[0] for text in texts(report)] == [
        "cluster_cache_dir",
        "container_image_cache_dir",
    ]


def test_prepared_images_need_space_too(tmp_path: Path) -> None:
    huge = replace(NEEDS, check_urls=False, cache_free_mb=0)
    card = {"flash_card": "/x", "flash_image_url": "http://127.0.0.1:1/os.img.xz"}

    def found(parts: list[str], needs_mb: int) -> list[str]:
        report = Report()
        values = {"card_image_parts": parts, "card_image_cache_free_mb": needs_mb, **card}
        downloads.check(board(tmp_path, **values), [], huge, report)
        return texts(report)

    (text,) = found(["packages"], 10**9)
    assert "and prepared OS images need 1000000000 MiB (card_image_cache_free_mb); free some space" in text
    assert text.endswith("card_image_parts: [] does without prepared OS images")
    assert found(["packages"], 1) == found([], 10**9) == []
    (tmp_path / "cache/images").mkdir(parents=True)
    (tmp_path / "cache/images/prepared-0123.img").touch()
    assert found(["packages"], 10**9) == []
