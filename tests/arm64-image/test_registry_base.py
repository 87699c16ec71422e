"""A base from a registry, by the digest of an index of two architectures: what the role pulls by default.

The registry is Debian's docker-registry on this machine, and the bases in it are those that mmdebstrap made. The small
image is built: what is tried are base and builder.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.container_image import base

from lab import apt
from tests.support.image import ARCHITECTURES, CACHE, Build, unpack

# Both stages of docker/Dockerfile begin with the same name, for two architectures.
DOCKERFILE = "FROM scratch\nARG TARGETARCH\nADD base-$TARGETARCH.tar /\n"
CONFIG = """\
version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
http: {{addr: "{address}"}}
"""
# Addresses of this machine alone need no certificate.
REGISTRIES = '[[registry]]\nlocation = "{address}"\ninsecure = true\n'


@dataclass(frozen=True)
class Registry:
    """A registry with the index of a base in it."""

    base: str
    """NAME:TAG@sha256:DIGEST of the index."""
    one: str
    """The same of the base for amd64 alone."""
    environment: dict[str, str]


def run(*argv: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in argv], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{argv}: {done.stderr}{done.stdout}"
    return done.stdout.strip()


@pytest.fixture(scope="session")
def address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(scope="session")
def server(scratch: Path, address: str) -> Iterator[None]:
    """The registry's process."""
    folder = scratch / "registry"
    codename = apt.host_codename(Path("/etc/os-release").read_text())
    apt.fetch(["docker-registry"], codename, folder)
    (folder / "config.yml").write_text(CONFIG.format(folder=folder, address=address))
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [folder / "root/usr/bin/docker-registry", "serve", folder / "config.yml"], stdout=log, stderr=log
        ) as process,
    ):
        deadline = time.monotonic() + 60
        host, port = address.split(":")
        while socket.socket().connect_ex((host, int(port))):
            assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield
        process.terminate()


@pytest.fixture(scope="session")
def registry(small: object, server: None, address: str, scratch: Path) -> Registry:
    """The bases were made for the small image."""
    context = scratch / "base"
    context.mkdir()
    (context / "Dockerfile").write_text(DOCKERFILE)
    for arch in ARCHITECTURES:
        os.link(base.tar_path(CACHE / "images-oci", "trixie", arch), context / f"base-{arch}.tar")
    registries = scratch / "registries.conf"
    registries.write_text(REGISTRIES.format(address=address))
    buildah = ["buildah", "--root", scratch / "storage", "--runroot", scratch / "storage-run"]
    pushed = {}
    for name, platforms in (("both", "linux/amd64,linux/arm64"), ("one", "linux/amd64")):
        run(*buildah, "bud", "--isolation=chroot", f"--platform={platforms}", f"--manifest={name}", context)
        digest = scratch / f"{name}.digest"
        target = f"docker://{address}/{name}:trixie"
        run(*buildah, "manifest", "push", "--all", "--tls-verify=false", f"--digestfile={digest}", name, target)
        pushed[name] = f"{address}/{name}:trixie@{digest.read_text().strip()}"
    run(*buildah, "rmi", "--all", "--force")
    shutil.rmtree(context)
    return Registry(pushed["both"], pushed["one"], {"CONTAINERS_REGISTRIES_CONF": str(registries)})


def first_layer(root: Path, archive: Path) -> str:
    """Digest of the image's first layer, before it was compressed."""
    with tarfile.open(archive) as tar:
        tar.extractall(root, filter="data")
    index = json.loads((root / "index.json").read_text())
    blobs = root / "blobs/sha256"
    manifest = json.loads((blobs / index["manifests"][0]["digest"].partition(":")[2]).read_text())
    config = json.loads((blobs / manifest["config"]["digest"].partition(":")[2]).read_text())
    return str(config["rootfs"]["diff_ids"][0])


def works(builder: str) -> bool:
    """Whether a builder is on this machine; of docker there is often the client alone."""
    command = {"docker": ["docker", "buildx", "inspect"]}.get(builder, [builder, "--version"])
    return shutil.which(builder) is not None and not subprocess.run(command, capture_output=True).returncode


@pytest.mark.parametrize("builder", ["buildah", "podman", "docker"])
def test_base_is_that_of_the_boards(
    registry: Registry, build: Build, scratch: Path, shared: Path, builder: str
) -> None:
    if not works(builder):
        pytest.skip(f"{builder} cannot build on this machine")
    cache = scratch / f"by-{builder}"
    # What was downloaded already.
    shutil.copytree(CACHE / "images-oci/wheels", cache / "wheels", copy_function=os.link)
    options = [f"--base={registry.base}", f"--builder={builder}", *(f"--arch={arch}" for arch in ARCHITECTURES)]
    archives = build("requirements-lite", *options, cache=cache, **registry.environment)
    layers = {first_layer(scratch / f"{builder}-{arch}", Path(known.path)) for arch, known in archives.items()}
    assert len(layers) == 2
    image = unpack(Path(archives["arm64"].path), "arm64", scratch / f"{builder}-run")
    command = ["python", "-c", "import platform, numpy, papermill; print(platform.machine())"]
    assert image.run(command, shared, 600) == "aarch64\n"
    shutil.rmtree(cache)


def test_base_without_the_boards_architecture_is_an_error(
    registry: Registry, build: Build, scratch: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cache = scratch / "one"
    shutil.copytree(CACHE / "images-oci/wheels", cache / "wheels", copy_function=os.link)
    with pytest.raises(AssertionError):
        build("requirements-lite", f"--base={registry.one}", "--arch=arm64", cache=cache, **registry.environment)
    said = capfd.readouterr().err
    assert "arm64" in said
    assert not list(cache.glob("*.tar"))
