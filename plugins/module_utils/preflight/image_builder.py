"""What builds the container image on the control node, and on what base. Nothing here changes anything."""

from __future__ import annotations

import getpass
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..command import run
from ..container_image import base
from ..container_image.inputs import ARCHITECTURES, ImageError
from .model import Host, Place, Report

_BUILDERS = ("buildah", "podman", "docker")
_SUBORDINATE = (Path("/etc/subuid"), Path("/etc/subgid"))


@dataclass(frozen=True)
class ImageBase:
    """Where a board's container image gets its base from, and the cache; the role's variables of these names."""

    source: str
    suite: str
    cache_dir: str


def check_emulation(boards: Iterable[tuple[str, str, ImageBase]], report: Report) -> None:
    """Report boards (name, machine, base) for which this machine would have to run programs that it cannot run."""
    for name, machine, wanted in boards:
        arch = ARCHITECTURES.get(machine, machine)
        if wanted.source != "mmdebstrap" or base.tar_path(Path(wanted.cache_dir), wanted.suite, arch).is_file():
            continue
        if not base.runs_here(arch):
            report.here(
                "container_image_base_source",
                f"makes a base for {name}, and the scripts of its packages are for {arch}, which does not run here",
                "install the Debian packages qemu-user-static, binfmt-support and arch-test (`arch-test` must list "
                f"{arch}), or write registry",
                wanted.source,
            )
            return


def check(boards: list[Host], report: Report) -> None:
    """Report a missing or unusable builder, and what is missing for a base from Debian packages."""
    for builder in sorted({str(host.get("container_image_builder", "auto")) for host in boards}):
        _builder(builder, report)
    for host in [host for host in boards if host.get("container_image_base_source") == "mmdebstrap"][:1]:
        _mmdebstrap(host, report)


def _mmdebstrap(host: Host, report: Report) -> None:
    """Report what is missing here for a base from Debian packages, for this machine's own architecture."""
    setting = host.settings["container_image_base_source"]
    if shutil.which("mmdebstrap") is None:
        report.setting(host, setting, "mmdebstrap is not installed", "install the Debian package mmdebstrap")
    wanted = host.get("container_image_builder", "auto")
    if wanted == "docker" or (wanted == "auto" and not any(map(shutil.which, ("buildah", "podman")))):
        remedy = "install the Debian package buildah, or write registry"
        report.setting(host, setting, "docker cannot take a base that is made here", remedy)
    mirror, security = (str(host.get(f"container_image_base_{name}", "")) for name in ("mirror", "security_mirror"))
    try:
        base.source_lines("", mirror, security, base.host_sources())
    except ImageError as error:
        for line in str(error).splitlines():
            name, _, problem = line.partition(": ")
            report.add(setting.place, name, None, problem, "write the archive's URL")


def _builder(wanted: str, report: Report) -> None:
    """Report a missing or unusable builder; which one is taken, module_utils/container_image decides."""
    choice = _BUILDERS if wanted == "auto" else (wanted,)
    found = next((each for each in choice if shutil.which(each)), None)
    if found is None:
        report.here(
            " or ".join(choice),
            "not installed, but needed to build the container image",
            f"install the Debian package {'buildah' if wanted == 'auto' else wanted}",
        )
    elif found == "docker":
        _docker(report)
    elif os.geteuid() != 0:
        _subordinate_ids(found, report)


def _docker(report: Report) -> None:
    """Docker writes an archive only with its own store of containerd, or with a builder in a container."""
    instead = "or install the Debian package buildah"
    info = run("docker", "info", "--format", "{{.DriverStatus}}", timeout=20)
    builder = run("docker", "buildx", "inspect", timeout=20)
    if info.status:
        user = getpass.getuser()
        remedy = f"start it (systemctl start docker), have {user} in the group docker, {instead}"
        report.here("docker", "its daemon does not answer this user", remedy)
    elif builder.status:
        remedy = f"install the Debian package docker-buildx (or docker-buildx-plugin), {instead}"
        report.here("docker buildx", "not installed, but needed to build the container image", remedy)
    elif "containerd.snapshotter" not in info.output and "docker" in builder.output.partition("Driver:")[2].split()[:1]:
        remedy = f"run `docker buildx create --use --driver docker-container`, {instead}"
        report.here("docker buildx", "its builder of driver docker cannot write an OCI archive", remedy)


def _subordinate_ids(builder: str, report: Report) -> None:
    user = getpass.getuser()
    owners = (f"{user}:", f"{os.getuid()}:")
    for path in _SUBORDINATE:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        if not any(line.startswith(owners) for line in lines):
            remedy = f"run `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}`"
            report.add(
                Place(str(path)), user, None, f"no range, which {builder} needs for a user other than root", remedy
            )
    if shutil.which("newuidmap") is None:
        problem = f"not installed, but {builder} needs it for a user other than root"
        report.here("newuidmap", problem, "install the Debian package uidmap")
