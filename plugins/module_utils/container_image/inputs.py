"""The inputs of an image, and its name, which is derived from them. Standard library only."""

import fnmatch
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

#: Incremented when this program builds another image from the same files.
RECIPE = 2

#: Packages of a base by mmdebstrap in addition to Debian's essential ones.
BASE_PACKAGES = ("ca-certificates", "libstdc++6", "python3", "python3-venv")

#: Not used by programs in a container, 30 MB: dpkg excludes it from a base by mmdebstrap.
BASE_EXCLUDES = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/lib/*/gconv/*")

#: `uname -m` and Ansible's fact to the name that image platforms and Debian use.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "amd64": "amd64", "arm64": "arm64"}


class ImageError(Exception):
    """An error that the user must fix; the text says what and where."""


@dataclass(frozen=True)
class Inputs:
    """Everything that determines the image, except the architecture: both architectures share one name."""

    context: Path
    base: str = ""
    source: str = "registry"
    suite: str = "trixie"
    requirements: str = "requirements"
    """Which locks are installed: requirements.ARCH.txt, or others beside them. A directory of that name has npm's."""


def context_files(context: Path) -> list[Path]:
    """Files of a build context that the build can see, sorted by path: the Dockerfile and what .dockerignore includes.

    Raises:
        ImageError: there is no Dockerfile, or .dockerignore does not begin with `*` (then all files would be inputs,
            and a note added to the folder would build a new image).
    """
    if not (context / "Dockerfile").is_file():
        raise ImageError(f"{context}/Dockerfile does not exist; set container_image_context to its directory")
    ignore = context / ".dockerignore"
    lines = [line.strip() for line in ignore.read_text().splitlines()] if ignore.is_file() else []
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines or lines[0] != "*" or not all(line.startswith("!") for line in lines[1:]):
        raise ImageError(f"{ignore} must be a line '*' and then lines '!PATTERN', so that only build inputs count")
    patterns = ["Dockerfile", *(line[1:].lstrip("/") for line in lines[1:])]
    files = [path for path in sorted(context.rglob("*")) if path.is_file()]
    return [path for path in files if any(fnmatch.fnmatch(path.relative_to(context).as_posix(), p) for p in patterns)]


def check_base(inputs: Inputs) -> None:
    """Check that a base from a registry is pinned by its digest: the content of a tag changes without notice.

    An image of this machine alone (localhost/...) has no digest to pin it by, and cannot be replaced from outside.

    Raises:
        ImageError: it is not pinned.
    """
    if inputs.source != "registry":
        return
    base, place = inputs.base, "container_image_base"
    if not base:
        place = f"{inputs.context}/Dockerfile: ARG BASE_IMAGE"
        found = re.search(r"(?m)^ARG BASE_IMAGE=(\S+)", (inputs.context / "Dockerfile").read_text())
        base = found[1] if found else ""
    if not base.startswith("localhost/") and not re.search(r"@sha256:[0-9a-f]{64}$", base):
        raise ImageError(
            f"{place} = {base or 'empty'}: a base image from a registry must be pinned by the digest of its index, as "
            "NAME:TAG@sha256:...; `docker buildx imagetools inspect NAME:TAG` shows it (docker/README.md)"
        )


def digest(inputs: Inputs) -> str:
    """SHA-256 (64 hex digits) over everything that determines the image.

    Raises:
        ImageError: see context_files and check_base.
    """
    total = hashlib.sha256(f"recipe {RECIPE}\nsource {inputs.source}\nbase {inputs.base}\n".encode())
    total.update(f"requirements {inputs.requirements}\n".encode())
    if inputs.source == "mmdebstrap":
        total.update(f"suite {inputs.suite} {BASE_PACKAGES} {BASE_EXCLUDES}\n".encode())
    files = context_files(inputs.context)
    check_base(inputs)
    for path in files:
        lock = re.match(r"requirements[^./]*", path.relative_to(inputs.context).as_posix())
        if lock and lock[0] != inputs.requirements:
            continue
        content = path.read_bytes()
        total.update(f"file {path.relative_to(inputs.context).as_posix()} {len(content)}\n".encode())
        total.update(content)
    return total.hexdigest()


def tag(inputs: Inputs) -> str:
    """The first 12 digits of the digest: the image's tag."""
    return digest(inputs)[:12]


def reference(inputs: Inputs, name: str) -> str:
    """The full image reference, for pods as for containerd."""
    return f"{name}:{tag(inputs)}"
