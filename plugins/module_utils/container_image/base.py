"""A base image's root file system from Debian packages, for places without a container registry."""

import hashlib
import os
import re
import shutil
from pathlib import Path

from .inputs import BASE_EXCLUDES, BASE_PACKAGES, RECIPE, ImageError
from .progress import Progress, run

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def find_mirror(sources: dict[str, str]) -> str:
    """URI of the first Debian archive (not its security archive) among the texts of apt's source files, or ''.

    Args:
        sources: file name to text; `.sources` files are read as deb822, the others as one-line lists.
    """
    uris: list[str] = []
    for name, text in sorted(sources.items()):
        text = re.sub(r"(?m)^\s*#.*\n?", "", text)
        if name.endswith(".sources"):
            for block in re.split(r"\n\s*\n", text):
                fields = {key.lower(): value.split() for key, value in re.findall(r"(?m)^([\w-]+):[ \t]*(.*)$", block)}
                off = fields.get("enabled", ["yes"])[0].lower() in ("no", "false", "0", "off")
                if "deb" in fields.get("types", []) and not off:
                    uris += fields.get("uris", [])
        else:
            uris += re.findall(r"(?m)^\s*deb\s+(?:\[[^]]*\]\s+)?(\S+)", text)
    return next((uri.rstrip("/") for uri in uris if re.search(r"/debian/?$", uri)), "")


def host_mirror() -> str:
    """URI of this machine's own Debian mirror, or '' when it has none."""
    files = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    files = [file for file in files if file.suffix in (".list", ".sources") and file.is_file()]
    return find_mirror({file.name: file.read_text() for file in files})


def root_file_system(folder: Path, suite: str, arch: str, mirror: str, progress: Progress, timeout: float) -> Path:
    """Path of a tar of a Debian root file system with Python, made unless it is in `folder`.

    Args:
        suite: Debian release, such as trixie.
        arch: amd64 or arm64; another one than the machine's needs qemu-user-static.
        mirror: URI of a Debian archive; '' takes the one in this machine's /etc/apt.

    Raises:
        ImageError: mmdebstrap is missing or failed, or no mirror is known.
    """
    recipe = hashlib.sha256(f"{RECIPE} {BASE_PACKAGES} {BASE_EXCLUDES}".encode()).hexdigest()[:8]
    tar = folder / f"base-{suite}-{arch}-{recipe}.tar"
    if tar.is_file():
        return tar
    if shutil.which("mmdebstrap") is None:
        raise ImageError("container_image_base_source: mmdebstrap, which is not installed: apt-get install mmdebstrap")
    mirror = mirror or host_mirror()
    if not mirror:
        raise ImageError(
            "container_image_base_mirror: no Debian mirror is named, nor is one in this machine's /etc/apt"
        )
    partial = tar.with_suffix(".partial")
    argv = ["mmdebstrap", "--variant=essential", "--format=tar", f"--architectures={arch}"]
    argv += [f"--include={','.join(BASE_PACKAGES)}"]
    argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in BASE_EXCLUDES]
    argv += [suite, str(partial), f"deb [signed-by={KEYRING}] {mirror} {suite} main"]
    with progress.step(f"base-{arch}", f"Debian {suite} for {arch}, the image's base, is built from packages"):
        # With a fixed time the same packages give the same tar.
        env = {**os.environ, "SOURCE_DATE_EPOCH": "0"}
        status = "mmdebstrap has been running for {:.0f} s".format
        try:
            run(argv, folder / f"base-{arch}.log", progress, status, timeout, env)
        except ImageError as error:
            if re.search("exec format|qemu|arch-test|cannot be executed", str(error), re.IGNORECASE):
                hint = "A base of another architecture needs: apt-get install qemu-user-static arch-test"
                raise ImageError(f"{error}\n{hint}") from None
            raise
    partial.replace(tar)
    return tar
