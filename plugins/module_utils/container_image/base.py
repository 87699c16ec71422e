"""A base image's root file system from Debian packages, for places without a container registry."""

import hashlib
import os
import re
import shutil
from pathlib import Path

from ..command import run as run_briefly
from .inputs import ARCHITECTURES, BASE_EXCLUDES, BASE_PACKAGES, RECIPE, ImageError
from .progress import Progress, run

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def find_mirror(sources: dict[str, str], archive: str = "debian") -> str:
    """URI of the first Debian archive among the texts of apt's source files, or ''.

    Args:
        sources: file name to text; `.sources` files are read as deb822, the others as one-line lists.
        archive: last part of the URI: debian, or debian-security.
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
    return next((uri.rstrip("/") for uri in uris if re.search(rf"/{archive}/?$", uri)), "")


def host_sources() -> dict[str, str]:
    """Texts of this machine's apt source files by file name."""
    files = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    return {file.name: file.read_text() for file in files if file.suffix in (".list", ".sources") and file.is_file()}


def source_lines(suite: str, mirror: str, security_mirror: str, sources: dict[str, str]) -> list[str]:
    """Lines of sources.list for a release with its security updates.

    Args:
        suite: Debian release, such as trixie.
        mirror: URI of a Debian archive; '' takes the one in `sources`.
        security_mirror: URI of a Debian security archive, likewise.
        sources: this machine's apt source files (see host_sources).

    Raises:
        ImageError: an archive is neither given nor in `sources`.
    """
    wanted = (
        ("debian", "container_image_base_mirror", mirror, suite),
        ("debian-security", "container_image_base_security_mirror", security_mirror, f"{suite}-security"),
    )
    lines, problems = [], []
    for archive, variable, given, name in wanted:
        uri = given.rstrip("/") or find_mirror(sources, archive)
        lines.append(f"deb [signed-by={KEYRING}] {uri} {name} main")
        if not uri:
            problems.append(f"{variable}: empty, and this machine's /etc/apt has no archive that ends in /{archive}")
    if problems:
        raise ImageError("\n".join(problems))
    return lines


def validity_options(dump: str) -> list[str]:
    """Settings about the age of an archive's lists in the output of `apt-config dump`, one an item.

    Users of a frozen mirror have disabled the check of the date, and Debian's security suite is valid for a week only.
    """
    return re.findall(r'(?m)^(Acquire::Check-(?:Valid-Until|Date) "\w+");$', dump)


def tar_path(folder: Path, suite: str, arch: str) -> Path:
    """Where the root file system of a release and architecture is in the cache `folder`, once it was made."""
    recipe = hashlib.sha256(f"{RECIPE} {BASE_PACKAGES} {BASE_EXCLUDES}".encode()).hexdigest()[:8]
    return folder / f"base-{suite}-{arch}-{recipe}.tar"


def runs_here(arch: str) -> bool:
    """Whether this machine runs programs of an architecture (amd64, arm64), by itself or by qemu-user-static."""
    return ARCHITECTURES.get(os.uname().machine) == arch or run_briefly("arch-test", arch).status == 0


def root_file_system(
    folder: Path, suite: str, arch: str, mirrors: tuple[str, str], progress: Progress, timeout: float
) -> Path:
    """Path of a tar of a Debian root file system with Python, made unless it is in `folder`.

    Args:
        folder: cache of such tars, and of the log of mmdebstrap.
        suite: Debian release, such as trixie.
        arch: amd64 or arm64; another one than the machine's needs qemu-user-static.
        mirrors: URIs of a Debian archive and its security archive; '' takes those of this machine's /etc/apt.
        progress: shows the steps.
        timeout: seconds that mmdebstrap may take.

    Raises:
        ImageError: mmdebstrap is missing or failed, or no mirror is known.
    """
    tar = tar_path(folder, suite, arch)
    if tar.is_file():
        return tar
    if shutil.which("mmdebstrap") is None:
        raise ImageError("container_image_base_source: mmdebstrap, which is not installed: apt-get install mmdebstrap")
    if not runs_here(arch):
        raise ImageError(
            f"container_image_base_source: mmdebstrap, but this machine runs no programs for {arch}, as the scripts of "
            "its packages are: apt-get install qemu-user-static binfmt-support arch-test; then `arch-test` must list it"
        )
    sources = source_lines(suite, *mirrors, host_sources())
    partial = tar.with_suffix(".partial")
    argv = ["mmdebstrap", "--variant=essential", "--format=tar", f"--architectures={arch}"]
    argv += [f"--include={','.join(BASE_PACKAGES)}"]
    argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in BASE_EXCLUDES]
    argv += [f"--aptopt={option}" for option in validity_options(run_briefly("apt-config", "dump").output)]
    argv += [suite, str(partial), *sources]
    with progress.step(f"base-{arch}", f"Debian {suite} for {arch}, the image's base, is built from packages"):
        # With a fixed time the same packages give the same tar.
        env = {**os.environ, "SOURCE_DATE_EPOCH": "0"}
        status = "mmdebstrap has been running for {:.0f} s".format
        run(argv, folder / f"base-{arch}.log", progress, status, timeout, env)
    partial.replace(tar)
    return tar
