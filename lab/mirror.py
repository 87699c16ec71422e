"""What the boards and their installer download: a folder of links into the cache, served over HTTP."""

import hashlib
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from lab.settings import Settings


class Handler(SimpleHTTPRequestHandler):
    """Files only, with the types that downloads want."""

    protocol_version = "HTTP/1.1"
    extensions_map = {  # noqa: RUF012 - the base class says so
        "": "application/octet-stream",
        ".txt": "text/plain",
        ".sha256": "text/plain",
    }


def server(settings: Settings) -> ThreadingHTTPServer:
    """A server of the mirror's folder, bound to the gateway's address."""
    settings.mirror_root.mkdir(parents=True, exist_ok=True)
    handler = partial(Handler, directory=str(settings.mirror_root))
    return ThreadingHTTPServer((settings.gateway, settings.mirror_port), handler)


LATEST = {"amd64": "raspios_lite_latest.img.xz", "arm64": "raspios_lite_arm64_latest.img.xz"}
"""Names of OS images that stay."""


def publish_os_images(settings: Settings, builds: list[Path]) -> None:
    """Offer OS images under the paths that their vendor would give them, and under names that stay."""
    base = settings.mirror_root / "raspios"
    images = [next(build.glob("*.img.xz")) for build in builds]
    links = []
    for image in images:
        folder = base / f"raspios_lite_{_arch(image)}/images/raspios_lite_{_arch(image)}-{image.name[:10]}"
        links += [(folder / path.name, path) for path in (image, image.with_name(f"{image.name}.sha256"))]
    _replace(base, links)
    for image in images:
        latest = base / LATEST[_arch(image)]
        latest.symlink_to(image)
        digest = image.with_name(f"{image.name}.sha256").read_text().split()[0]
        latest.with_name(f"{latest.name}.sha256").write_text(f"{digest}  {latest.name}\n")


def _arch(image: Path) -> str:
    """Architecture in the name of an image, `<date>-raspios-<suite>-<arch>-lite.img.xz`."""
    return image.name.split("-")[-2]


def publish_k3s(settings: Settings, version: str, builds: list[Path]) -> None:
    """Offer a k3s release, of one or two architectures, in the layout of the real ones."""
    folder = settings.mirror_root / "k3s" / version
    # The list of images is the same for both.
    _replace(folder, list({folder / path.name: path for build in builds for path in sorted(build.iterdir())}.items()))


def write_sums(folder: Path, name: str) -> None:
    """Write the digests of all files of a folder into one of that name, in the form of k3s's releases."""
    lines = []
    for path in sorted(folder.iterdir()):
        if path.name != name:
            with path.open("rb") as handle:
                lines.append(f"{hashlib.file_digest(handle, 'sha256').hexdigest()}  {path.name}\n")
    (folder / name).write_text("".join(lines))


def _replace(folder: Path, links: list[tuple[Path, Path]]) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    for link, target in links:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
