"""An image as an OCI archive: one tar that containerd imports from a stream, its layers compressed with zstd."""

import json
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .inputs import ImageError
from .layers import Layers


@dataclass(frozen=True)
class Archive:
    """Metadata of an archive, readable without opening it. Sizes in bytes."""

    path: str
    reference: str
    manifest_digest: str
    size: int
    unpacked_size: int


def sidecar(path: Path) -> Path:
    """The file beside an archive that describes it."""
    return path.with_suffix(".json")


def load(path: Path) -> Archive | None:
    """The archive at `path` if it is complete, otherwise None."""
    try:
        known = Archive(**json.loads(sidecar(path).read_text()))
        return known if path.stat().st_size == known.size else None
    except (OSError, ValueError, TypeError):
        return None


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def pack(layout: Path, path: Path, reference: str, arch: str) -> Archive:
    """Writes an OCI image layout (a directory with one image) as the archive `path`, named `reference`.

    Raises:
        ImageError: the layout contains no image or several, or one that does not run on boards of `arch`.
    """
    index: dict[str, Any] = json.loads((layout / "index.json").read_text())
    if len(index["manifests"]) != 1:
        raise ImageError(f"{layout}/index.json: one image was expected, found {len(index['manifests'])}")
    entry = index["manifests"][0]
    manifest = json.loads(_blob(layout, entry["digest"]).read_text())
    layers = Layers()
    for layer in manifest["layers"]:
        layers.read(_blob(layout, layer["digest"]), layer["mediaType"])
    layers.check(arch, json.loads(_blob(layout, manifest["config"]["digest"]).read_text()))
    # containerd takes the first as the image's full name; the second, by the OCI's rules, may be the tag alone.
    entry["annotations"] = {
        "io.containerd.image.name": reference,
        "org.opencontainers.image.ref.name": reference.rpartition(":")[2],
    }
    (layout / "index.json").write_text(json.dumps(index))
    partial = path.with_suffix(".partial")
    with tarfile.open(partial, "w") as tar:
        for name in ("oci-layout", "index.json", "blobs"):
            tar.add(layout / name, name)
    partial.replace(path)
    known = Archive(str(path), reference, entry["digest"], path.stat().st_size, layers.unpacked_size)
    sidecar(path).write_text(json.dumps(asdict(known), indent=1) + "\n")
    return known
