"""An image as an OCI archive: one tar that containerd imports from a stream, its layers compressed with zstd."""

import gzip
import json
import shutil
import subprocess
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .inputs import ImageError


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


def unpacked_size(path: Path, media_type: str) -> int:
    """Length in bytes of a layer's tar.

    Raises:
        ImageError: the zstd program is missing.
    """
    count = 0
    if media_type.endswith("zstd"):
        if shutil.which("zstd") is None:
            raise ImageError("zstd: not installed on the control node: apt-get install zstd")
        with subprocess.Popen(["zstd", "-dcq", str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout
            while chunk := process.stdout.read(1 << 20):
                count += len(chunk)
        return count
    if media_type.endswith("gzip"):
        with gzip.open(path) as stream:
            while chunk := stream.read(1 << 20):
                count += len(chunk)
        return count
    return path.stat().st_size


def pack(layout: Path, path: Path, reference: str) -> Archive:
    """Writes an OCI image layout (a directory with one image) as the archive `path`, named `reference`.

    Raises:
        ImageError: the layout contains no image or several.
    """
    index: dict[str, Any] = json.loads((layout / "index.json").read_text())
    if len(index["manifests"]) != 1:
        raise ImageError(f"{layout}/index.json: one image was expected, found {len(index['manifests'])}")
    entry = index["manifests"][0]
    # containerd takes the first as the image's full name; the second, by the OCI's rules, may be the tag alone.
    entry["annotations"] = {
        "io.containerd.image.name": reference,
        "org.opencontainers.image.ref.name": reference.rpartition(":")[2],
    }
    (layout / "index.json").write_text(json.dumps(index))
    manifest = json.loads(_blob(layout, entry["digest"]).read_text())
    unpacked = sum(unpacked_size(_blob(layout, layer["digest"]), layer["mediaType"]) for layer in manifest["layers"])
    partial = path.with_suffix(".partial")
    with tarfile.open(partial, "w") as tar:
        for name in ("oci-layout", "index.json", "blobs"):
            tar.add(layout / name, name)
    partial.replace(path)
    known = Archive(str(path), reference, entry["digest"], path.stat().st_size, unpacked)
    sidecar(path).write_text(json.dumps(asdict(known), indent=1) + "\n")
    return known
