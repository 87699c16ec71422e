"""docker/ -> image -> archive in the cache, with buildah, podman or docker."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.edge_ai.cluster.plugins.module_utils.dataset import npm_command

from ..command import run as run_briefly
from . import archive, base
from .archive import Archive
from .inputs import ARCHITECTURES, ImageError, Inputs, tag
from .progress import Progress, run

#: Python of the image; docker/Dockerfile uses the same for pip.
PYTHON = "3.13"

#: Wheels tags that glibc 2.28 and newer run, as in docker/Dockerfile.
MANYLINUX = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_26", "manylinux_2_24", "manylinux_2_17", "manylinux2014")

#: Archives kept for each image and architecture: the current one and earlier ones for a rollback.
KEEP = 3


@dataclass(frozen=True)
class Settings:
    """Build settings that do not change the image. `timeout`: seconds for one command."""

    cache: Path
    name: str
    builder: str = "auto"
    mirrors: tuple[str, str] = ("", "")
    """Debian archive and security archive for mmdebstrap; '' takes those of this machine's /etc/apt."""
    compression_level: int = 3
    timeout: float = 3600.0

    @property
    def environment(self) -> dict[str, str]:
        """Of pip and the builder: what they unpack is on the cache's disk, whose room preflight checks, not in /tmp."""
        return {**os.environ, "TMPDIR": str(self.cache / "tmp")}


def find_builder(wanted: str) -> str:
    """`wanted`, or for `auto` the first of buildah, podman and docker that works on this machine.

    Raises:
        ImageError: it is not installed.
    """
    candidates = ["buildah", "podman", "docker"] if wanted == "auto" else [wanted]
    for candidate in candidates:
        # A docker client is often installed without its daemon.
        if shutil.which(candidate) and (candidate != "docker" or run_briefly("docker", "info").status == 0):
            return candidate
    raise ImageError(
        f"container_image_builder: {wanted}, but none of {', '.join(candidates)} works on the control node: "
        "apt-get install buildah"
    )


@contextmanager
def locked(folder: Path, progress: Progress) -> Iterator[None]:
    """Only one build at a time; a second run shows the progress of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another run is building the image; its progress:", flush=True)
            _follow(lock.fileno(), progress.log)
        progress.log.write_text("")
        yield


def _follow(lock: int, log: Path) -> None:
    shown = 0
    while True:
        lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
        for line in lines[shown:]:
            print(line, flush=True)
        shown = len(lines)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(1)


def build(inputs: Inputs, arch: str, settings: Settings) -> tuple[Archive, bool]:
    """The image's archive for an architecture, and whether it had to be built.

    Raises:
        ImageError: a program is missing or failed.
    """
    path = settings.cache / f"{tag(inputs)}-{arch}.tar"
    if known := archive.load(path):
        return known, False
    progress = Progress(settings.cache)
    with locked(settings.cache, progress):
        # Another run may have built it while this one waited.
        if known := archive.load(path):
            return known, False
        with progress.step(f"image-{arch}", f"image {tag(inputs)} for {arch} is built on this machine"):
            shutil.rmtree(settings.cache / "tmp", ignore_errors=True)
            (settings.cache / "tmp").mkdir()
            known = _build(inputs, arch, settings, path, progress)
        size = f"{known.size / 1e6:.0f} MB to send, {known.unpacked_size / 1e6:.0f} MB on a node"
        progress.show(f"image for {arch}: {size}")
        _remove_old(settings, arch)
    return known, True


def _build(inputs: Inputs, arch: str, settings: Settings, path: Path, progress: Progress) -> Archive:
    builder = find_builder(settings.builder)
    if inputs.source == "mmdebstrap" and builder == "docker":
        raise ImageError("container_image_base_source: mmdebstrap needs buildah or podman: apt-get install buildah")
    # Packages come from one place and the base from another: both at once.
    with ThreadPoolExecutor() as pool:
        fetching = pool.submit(_wheels, inputs, arch, settings, progress)
        bases = _bases(inputs, arch, settings, progress)
        wheels = fetching.result()
    _npm_packages(inputs, wheels, settings, progress)
    reference = f"{settings.name}:{tag(inputs)}"
    layout = settings.cache / f"layout-{arch}"
    shutil.rmtree(layout, ignore_errors=True)
    tool = [builder]
    if builder != "docker":
        # A separate store: nothing of it remains, and the user's images are not touched.
        tool += ["--root", str(settings.cache / "storage"), "--runroot", str(settings.cache / "storage-run")]
        _empty_store(tool)
    try:
        argv = _build_command(tool, builder)
        for argument, base_arch in bases.items():
            argv += ["--build-arg", f"{argument}={_import_base(tool, builder, base_arch, inputs, settings, progress)}"]
        if inputs.source == "registry" and inputs.base:
            argv += ["--build-arg", f"BASE_IMAGE={inputs.base}"]
        argv += ["--build-context", f"wheels={wheels}", "--platform", f"linux/{arch}"]
        argv += ["--build-arg", f"REQUIREMENTS={inputs.requirements}"]
        if builder == "docker":
            output = f"type=oci,tar=false,dest={layout},name={reference},compression=zstd,force-compression=true"
            argv += ["--output", f"{output},compression-level={settings.compression_level},oci-mediatypes=true"]
        argv += ["--tag", reference, str(inputs.context)]
        with progress.step(f"build-{arch}", f"{builder} installs, trims and compiles the packages"):
            log = settings.cache / f"build-{arch}.log"
            _run_build(argv, log, progress, settings)
        with progress.step(f"export-{arch}", "the image is compressed into an archive"):
            if builder != "docker":
                push = [*tool, "push", "--quiet", "--compression-format", "zstd"]
                push += ["--compression-level", str(settings.compression_level)]
                push += [reference, f"oci:{layout}:{tag(inputs)}"]
                log = settings.cache / f"export-{arch}.log"
                status = "compression has been running for {:.0f} s".format
                run(push, log, progress, status, settings.timeout, settings.environment)
            return archive.pack(layout, path, reference, arch)
    finally:
        shutil.rmtree(layout, ignore_errors=True)
        if builder != "docker":
            _empty_store(tool)


def _bases(inputs: Inputs, arch: str, settings: Settings, progress: Progress) -> dict[str, str]:
    """Build argument to architecture of the bases that are built here; their tars are in the cache afterwards."""
    if inputs.source != "mmdebstrap":
        return {}
    for wanted in sorted({arch, _machine()}):
        base.root_file_system(settings.cache, inputs.suite, wanted, settings.mirrors, progress, settings.timeout)
    return {"BUILD_IMAGE": _machine(), "BASE_IMAGE": arch}


def _machine() -> str:
    return ARCHITECTURES.get(os.uname().machine, os.uname().machine)


def _build_command(tool: list[str], builder: str) -> list[str]:
    if builder == "docker":
        return ["docker", "buildx", "build", "--provenance=false"]
    # One layer on the base and one time stamp for all files: two builds differ in a few compiled files at most.
    command = [*tool, "build" if builder == "podman" else "bud", "--timestamp", "0"]
    # buildah 1.28 does not detect its own platform.
    command += ["--build-arg", f"BUILDPLATFORM=linux/{_machine()}"]
    # buildah's chroot needs neither runc nor crun, and works in containers and for users other than root.
    return command if builder == "podman" else [*command, "--isolation", "chroot"]


def _run_build(argv: list[str], log: Path, progress: Progress, settings: Settings) -> None:
    def status(seconds: float) -> str:
        output = log.read_text(errors="replace").splitlines()
        steps = [line for line in output if "STEP" in line or line.startswith("#")]
        return f"build has been running for {seconds:.0f} s: {steps[-1][:70] if steps else 'no output yet'}"

    run(argv, log, progress, status, settings.timeout, settings.environment)


def _import_base(
    tool: list[str], builder: str, arch: str, inputs: Inputs, settings: Settings, progress: Progress
) -> str:
    """Import the cached root file system as an image into the builder's store, if missing. Returns its reference."""
    tar = base.root_file_system(settings.cache, inputs.suite, arch, settings.mirrors, progress, settings.timeout)
    reference = f"localhost/edge-ai-base:{inputs.suite}-{arch}"
    known = subprocess.run([*tool, "inspect", "--type", "image", reference], capture_output=True, check=False)
    if known.returncode == 0:
        return reference
    context = settings.cache / f"base-{arch}"
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir()
    os.link(tar, context / "rootfs.tar")
    (context / "Dockerfile").write_text("FROM scratch\nADD rootfs.tar /\n")
    argv = [*_build_command(tool, builder), "--platform", f"linux/{arch}", "--tag", reference, str(context)]
    log = settings.cache / f"import-{arch}.log"
    try:
        status = "unpacking of the base has been running for {:.0f} s".format
        run(argv, log, progress, status, settings.timeout, settings.environment)
    finally:
        shutil.rmtree(context, ignore_errors=True)
    return reference


def _wheels(inputs: Inputs, arch: str, settings: Settings, progress: Progress) -> Path:
    """Directory of locked wheels, downloaded by this machine's pip and its settings (index, proxy, certificates)."""
    lock = inputs.context / f"{inputs.requirements}.{arch}.txt"
    if not lock.is_file():
        raise ImageError(f"{lock} does not exist, so there is no image for {arch}: docker/lock.sh creates the locks")
    count = sum("==" in line for line in lock.read_text().splitlines())
    folder = settings.cache / "wheels" / arch
    # Querying the index for each package takes a minute even when all are present. The build verifies the hashes again.
    complete = folder / f"complete-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    if complete.is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    machine = {"amd64": "x86_64", "arm64": "aarch64"}[arch]
    argv = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-cache-dir", "--no-deps"]
    argv += ["--require-hashes", "--requirement", str(lock), "--dest", str(folder)]
    argv += ["--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp"]
    for abi in (f"cp{PYTHON.replace('.', '')}", "abi3", "none"):
        argv += ["--abi", abi]
    for platform in MANYLINUX:
        argv += ["--platform", f"{platform}_{machine}"]

    def status(seconds: float) -> str:
        downloaded = log.read_text(errors="replace").count("Collecting ")
        return f"download has been running for {seconds:.0f} s: {downloaded} of {count}"

    log = settings.cache / f"wheels-{arch}.log"
    with progress.step(f"wheels-{arch}", f"{count} locked packages for {arch} are downloaded if missing"):
        run(argv, log, progress, status, settings.timeout, settings.environment)
    complete.touch()
    return folder


def _npm_packages(inputs: Inputs, wheels: Path, settings: Settings, progress: Progress) -> None:
    """Download an image's packages of npm, if it has some, to node_modules beside the wheels; npm verifies hashes."""
    source = inputs.context / inputs.requirements
    if not (source / "package-lock.json").is_file():
        return
    try:
        command = npm_command()
    except RuntimeError as error:
        raise ImageError(str(error)) from None
    with tempfile.TemporaryDirectory(dir=settings.cache) as name:
        for each in ("package.json", "package-lock.json"):
            shutil.copy(source / each, name)
        argv = [*command, "ci", "--prefix", name, "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
        log = settings.cache / "npm.log"
        with progress.step("npm", "the locked packages of npm are downloaded"):
            run(argv, log, progress, "npm has been running for {:.0f} s".format, settings.timeout)
        shutil.rmtree(wheels / "node_modules", ignore_errors=True)
        shutil.move(Path(name, "node_modules"), wheels)


def _empty_store(tool: list[str]) -> None:
    """Remove all containers and images from the builder's own store, also those of a killed run."""
    for command in (["rm", "--all"], ["rmi", "--all", "--force"]):
        subprocess.run([*tool, *command], capture_output=True, check=False)


def _remove_old(settings: Settings, arch: str) -> None:
    archives = sorted(
        settings.cache.glob(f"????????????-{arch}.tar"), key=lambda path: path.stat().st_mtime, reverse=True
    )
    known = [(path, archive.load(path)) for path in archives]
    # The other image's archives are not counted; incomplete ones are.
    of_this = [path for path, found in known if not found or found.reference.startswith(f"{settings.name}:")]
    for path in of_this[KEEP:]:
        archive.sidecar(path).unlink(missing_ok=True)
        path.unlink()
