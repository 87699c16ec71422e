"""A container image of docker/, unpacked, whose programs run as in a Job of the cluster, without a container engine.

Those of another architecture than this machine's are run by qemu-user-static, through binfmt_misc.
"""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml
from ansible_collections.edge_ai.cluster.plugins.module_utils.container_image.archive import Archive

from tests.support.paths import ROOT

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-ai-cluster"
ARCHITECTURES = ("amd64", "arm64")
Build = Callable[..., dict[str, Archive]]
"""Builds an image, or takes it from the cache: its archives by architecture."""

JOB = yaml.safe_load((ROOT / "k8s/jobs/base/job.yaml").read_text())["spec"]["template"]["spec"]
CONTAINER = JOB["containers"][0]
USER = JOB["securityContext"]["runAsUser"]

# What a pod has: a root that cannot be written, /books, and empty folders. In a mount and PID namespace of its own, so
# that nothing outlives the command. $1: root, $2: what is /books, $3: user.
ENTER = """set -eu
root=$1 shared=$2 user=$3
shift 3
mount --make-rprivate /
mount --bind "$root" "$root"
mount --bind "$shared" "$root/books"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=0700,uid="$user",gid="$user" tmpfs "$root/home/jupyter"
mount -o remount,bind,ro "$root"
exec chroot --userspec="$user:$user" --groups= "$root" "$@"
"""


@dataclass(frozen=True)
class Image:
    """An image that was unpacked."""

    root: Path
    arch: str
    environment: dict[str, str]

    def run(self, command: list[str], shared: Path, timeout: float, **environment: str) -> str:
        """What a command of the image prints, run as the Job's container is.

        Raises:
            AssertionError: it failed; with what it printed.
        """
        values = self.environment | {each["name"]: each["value"] for each in CONTAINER["env"] if "value" in each}
        # A Raspberry Pi 4's processor: without the newer one's instructions. Only programs of arm64 look at it.
        values |= {"QEMU_CPU": "cortex-a72", "NODE_NAME": f"here-{self.arch}"} | environment
        enter = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "sh"]
        inside = [
            "env",
            "-i",
            f"--chdir={CONTAINER['workingDir']}",
            *(f"{name}={value}" for name, value in values.items()),
        ]
        done = subprocess.run(
            [*enter, str(self.root), str(shared), str(USER), *inside, *command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout,
        )  # fmt: skip
        assert done.returncode == 0, f"{self.arch}: {' '.join(command)}: exit code {done.returncode}\n{done.stdout}"
        return done.stdout

    def notebook(self, arguments: list[str], shared: Path, timeout: float) -> str:
        """Run a notebook as the Job of k8s/jobs does, by its own command."""
        return self.run([*CONTAINER["command"], *arguments], shared, timeout)


def unpack(archive: Path, arch: str, folder: Path) -> Image:
    """Unpack the archive of an image into `folder`, its layers in their order."""
    layout, root = folder / "layout", folder / "root"
    root.mkdir(parents=True)
    with tarfile.open(archive) as tar:
        tar.extractall(layout, filter="data")

    def blob(digest: str) -> Path:
        return layout / "blobs" / digest.replace(":", "/")

    index = json.loads((layout / "index.json").read_text())
    manifest = json.loads(blob(index["manifests"][0]["digest"]).read_text())
    for layer in manifest["layers"]:
        how = {"zstd": ["--zstd"], "gzip": ["--gzip"]}.get(layer["mediaType"].rpartition("+")[2], [])
        # The build only adds files: a deleted one would be a marker here.
        argv = ["tar", *how, "--extract", "--numeric-owner", "--preserve-permissions", "--exclude=dev/*"]
        subprocess.run([*argv, f"--file={blob(layer['digest'])}", f"--directory={root}"], check=True)
        blob(layer["digest"]).unlink()
    assert not [name for _, _, names in os.walk(root) for name in names if name.startswith(".wh.")]
    for name in ("books", "dev", "home/jupyter", "proc", "tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    config = json.loads(blob(manifest["config"]["digest"]).read_text())
    environment = dict(line.split("=", 1) for line in config["config"]["Env"])
    return Image(root, arch, environment)
