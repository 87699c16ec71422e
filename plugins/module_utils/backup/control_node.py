"""What a backup has of a control node, its secrets and inventory: packed, and put where there is nothing of it."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

from ansible_collections.edge_ai.cluster.plugins.module_utils.archives import Entry, Target, copy, members

from ..files import sha256_of
from .archive import LIMITS, inside
from .packing import Packer
from .seal import BackupError, Key, decrypting

#: What it may hold: files, and bytes of them.
FILES, BYTES = 10_000, 64 << 20


def files_below(root: Path) -> dict[str, Path]:
    """Files by their names below `root`, as links lead to them; for a `root` that is a file itself, the name is empty.

    Raises BackupError for more than belongs to an inventory or to secrets.
    """
    if root.is_file():
        return {"": root}
    found: dict[str, Path] = {}
    size = 0
    for folder, _, names in os.walk(root, followlinks=True):
        for path in (Path(folder) / name for name in names):
            if path.is_file():
                found[str(path.relative_to(root))] = path
                size += path.stat().st_size
        if len(found) > FILES or size > BYTES:
            raise BackupError(
                f"{root}: more than {FILES:,} files or {BYTES >> 20} MiB: move what is not part of it away"
            )
    return found


def pack(target: Any, parts: dict[str, Path]) -> None:
    """Write the files of each part, such as secrets, as a tar. Raises BackupError, OSError."""
    packer = Packer(target)
    for part, root in parts.items():
        for name, path in sorted(files_below(root).items()):
            info, content = packer.info("/".join(filter(None, ("control", part, name))), path.stat()), path.read_bytes()
            info.size = len(content)
            packer.bytes(info, content)
    packer.close()


def put(path: Path, key: Key, part: str, target: Path, pretend: bool) -> tuple[bool, list[str]]:
    """Write a part of what a control node needs to `target`; whether it wrote something.

    What is there is kept. Secrets that are missing beside others of the same backup are put there; where some differ,
    they are of another time, and nothing is mixed: the second value then names files of the backup that are missing or
    have other content. Raises BackupError, OSError, Refused.
    """
    above = ("control", *part.split("/"))
    private = part == "secrets"
    target = target.resolve()
    found = inside(path, key)
    if found.faults:
        raise BackupError(f"{path.name} {found.faults[0]}")
    wanted = {
        "/".join(parts[len(above) :]): digest
        for parts, digest in ((tuple(name.split("/")), digest) for name, digest in found.sums.items())
        if parts[: len(above)] == above
    }
    there = files_below(target)
    missing = {name for name in wanted if name not in there}
    differing = {name for name in wanted if name in there and sha256_of(there[name]) != wanted[name]}
    if there and (differing or not private):
        return False, sorted(missing | differing)
    if not missing or pretend:
        return bool(missing), []
    target.parent.mkdir(mode=0o700 if private else 0o755, parents=True, exist_ok=True)
    # Beside its place, which it gets as a whole.
    staging = target.with_name(f".{target.name}.restoring")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(mode=0o700)
    with closing(Target(staging)) as folder, decrypting(path, key) as source:
        for member in members(source, LIMITS, links=True):
            if member.content is None or member.parts[: len(above)] != above:
                continue
            parts = (target.name, *member.parts[len(above) :])
            for depth in range(1, len(parts)):
                folder.make_folder(parts[:depth], Entry(0o700 if private else 0o755))
            # Owned by whoever restores; a secret is private whatever it was.
            with folder.file(parts, Entry(member.info.mode & (0o700 if private else 0o755))) as file:
                copy(member.content, file)
    if there:
        for name in sorted(missing):
            (target / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            (staging / target.name / name).rename(target / name)
        shutil.rmtree(staging)
        return True, []
    (staging / target.name).rename(target)
    staging.rmdir()
    return True, []
