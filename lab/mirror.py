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


def publish_os_image(settings: Settings, build: Path) -> None:
    """Offer an OS image under the path that its vendor would give it, and under a name that stays."""
    image = next(build.glob("*.img.xz"))
    date = image.name[:10]
    base = settings.mirror_root / "raspios"
    folder = base / "raspios_lite_amd64" / "images" / f"raspios_lite_amd64-{date}"
    _replace(base, [(folder / path.name, path) for path in (image, image.with_name(f"{image.name}.sha256"))])
    latest = base / "raspios_lite_latest.img.xz"
    latest.symlink_to(image)
    digest = image.with_name(f"{image.name}.sha256").read_text().split()[0]
    latest.with_name(f"{latest.name}.sha256").write_text(f"{digest}  {latest.name}\n")


def publish_k3s(settings: Settings, version: str, build: Path) -> None:
    """Offer a k3s release in the layout of the real ones, beside those of other versions."""
    folder = settings.mirror_root / "k3s" / version
    _replace(folder, [(folder / path.name, path) for path in sorted(build.iterdir())])


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
