"""Backups on the control node, found, verified and removed: files and the programs age and ssh-keygen, no host.

A backup is a directory named by its UTC stamp, with `manifest.json` and its signature, and three archives encrypted
for the owner: k3s's server/ with a copy of the datastore, the NFS export, and what a control node needs. One under
another name is not finished.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import printable

from ..files import sha256_of
from ..k3s import version
from .archive import CONTROL, SERVER, TOPS, ca_sha256, inside
from .seal import BackupError, Key, verify
from .stream import STAMP

#: Up to 2, backups were neither encrypted nor signed.
FORMAT = 3
MANIFEST, SIGNATURE = "manifest.json", "manifest.json.sig"
#: Seconds that the clock of the machine that made a backup may be ahead of this one's.
AHEAD = 3600
#: The longest manifest that is read (bytes).
LONGEST = 4 << 20
FIELDS: dict[str, type] = {
    "format": int,
    "cluster_name": str,
    "created": str,
    "k3s_version": str,
    "datastore": str,
    "server": str,
    "ca_sha256": str,
    "checkout": dict,
    "files": dict,
}


def stamp(when: float) -> str:
    """The name of a backup that is made at this Unix time."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(when))


def stamps(directory: Path) -> list[Path]:
    """Finished backups below a directory, oldest first."""
    if not directory.is_dir():
        return []
    return sorted(each for each in directory.iterdir() if STAMP.fullmatch(each.name) and (each / MANIFEST).is_file())


def choose(wanted: str, directory: Path) -> Path:
    """The backup that `latest`, a stamp or a path means. Raises BackupError."""
    there = stamps(directory)
    names = ", ".join(each.name for each in there[-5:]) or "none"
    if not wanted:
        raise BackupError(
            f"restore_from is missing: write -e restore_from=latest, a stamp or a path (there are: {names})"
        )
    if wanted == "latest":
        if not there:
            raise BackupError(f"{directory} holds no backup: make one with playbooks/backup.yml, or name a path")
        if there[-1].name > stamp(time.time() + AHEAD):
            raise BackupError(
                f"{there[-1]} was made after now, which is {stamp(time.time())} by the clock of this machine: set the "
                f"clock, or write -e restore_from=STAMP instead of latest (there are: {names})"
            )
        return there[-1]
    path = directory / wanted if STAMP.fullmatch(wanted) else Path(wanted).expanduser()
    if not path.is_dir():
        raise BackupError(f"{path} is not a directory (in {directory} there are: {names})")
    return path


def start_of(path: Path) -> bytes:
    """A manifest, or what is as long as the longest of a file that is none."""
    with path.open("rb") as file:
        return file.read(LONGEST)


def read_manifest(directory: Path, content: bytes = b"") -> dict[str, Any]:
    """The manifest, or `content`, which was verified. Raises BackupError for one that is missing or misshapen."""
    path = directory / MANIFEST
    if not path.is_file():
        raise BackupError(f"{path} is missing: this is not a backup, or one that was not finished: use another")
    try:
        found = json.loads(content or start_of(path))
    except (ValueError, RecursionError) as error:
        raise BackupError(f"{path} is not JSON: {printable(error, 200)}") from error
    if isinstance(found, dict) and found.get("format") in (1, 2):
        raise BackupError(
            f"{path} has format {found['format']}: a backup of before they were encrypted and signed, so anybody may "
            "have made it. Make a new one with playbooks/backup.yml, or restore it with the commit that made it"
        )
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise BackupError(
            f"{path} has not format {FORMAT}, the only one that is supported; restore it with the version that made it"
        )
    wrong = [name for name, kind in FIELDS.items() if not isinstance(found.get(name), kind)]
    if wrong:
        raise BackupError(f"{path} lacks {', '.join(wrong)}")
    if not STAMP.fullmatch(found["created"]):
        raise BackupError(f"{path}: created is not a time stamp such as 20261122T050000Z")
    return found


def verified(directory: Path, key: Key) -> tuple[dict[str, Any], str]:
    """The manifest of a backup of the key's owner, and its SHA-256. Raises BackupError for all others."""
    read_manifest(directory)  # what is no backup, or an old one, has no signature
    content = start_of(directory / MANIFEST)
    if not (directory / SIGNATURE).is_file():
        raise BackupError(f"its {SIGNATURE} is missing: it is not known who made it")
    verify(content, directory / SIGNATURE, key)
    manifest = read_manifest(directory, content)
    if STAMP.fullmatch(directory.name) and directory.name != manifest["created"]:
        raise BackupError(f"it was made at {manifest['created']}: its directory has another backup's name")
    return manifest, hashlib.sha256(content).hexdigest()


def version_fault(archived: str, wanted: str) -> str:
    """Why a datastore of version `archived` cannot be opened by k3s `wanted`; empty when it can."""
    old, new = version.parse(archived), version.parse(wanted)
    if old is None or new is None:
        return f"its k3s {archived} cannot be compared with k3s_version {wanted}"
    if old.key > new.key:
        return f"its k3s {archived} is newer than k3s_version {wanted}: set k3s_version to {archived} or newer"
    if old.major != new.major or new.minor - old.minor > 1:
        return (
            f"k3s_version {wanted} skips minor releases after its k3s {archived}: restore with {archived}, then upgrade"
        )
    return ""


def unfit(manifest: dict[str, Any], cluster_name: str, k3s_version: str, servers: int) -> Iterator[str]:
    """Every reason against restoring a backup to this inventory, by its manifest."""
    if manifest["cluster_name"] != cluster_name:
        yield foreign(manifest, cluster_name)
    if fault := version_fault(manifest["k3s_version"], k3s_version):
        yield fault
    kind = manifest["datastore"]
    if kind not in ("sqlite", "etcd"):
        yield f"its datastore {kind!r} is not supported"
    elif (kind == "etcd") != (servers > 1):
        needs = "three servers or more" if kind == "etcd" else "one server"
        yield f"its datastore is {kind}, which is of {needs}: k3s_servers has {servers}"


def foreign(manifest: dict[str, Any], cluster_name: str) -> str:
    """That a backup is of another cluster."""
    return f"it is of the cluster {manifest['cluster_name']}, this inventory is of {cluster_name}"


def unsound(directory: Path, manifest: dict[str, Any], key: Key) -> Iterator[str]:
    """Everything that is wrong with the archives of a backup."""
    complete = True
    for name in (SERVER, CONTROL, *(each for each in manifest["files"] if each not in (SERVER, CONTROL))):
        entry, path = manifest["files"].get(name), directory / name
        if name not in TOPS or not isinstance(entry, dict):
            yield f"{MANIFEST} has no entry for {name}, or one that is not supported"
            complete = False
        elif not path.is_file():
            yield f"{name} is missing"
            complete = False
        elif (size := path.stat().st_size) != entry.get("size"):
            yield f"{name} has {size} bytes, {entry.get('size')} were written: it is truncated or was changed"
            complete = False
        elif sha256_of(path) != entry.get("sha256"):
            yield f"{name} was changed or damaged: its SHA-256 is not the one in {MANIFEST}"
            complete = False
    if not complete:
        return
    for name in manifest["files"]:
        found = inside(directory / name, key)
        yield from (f"{name} {fault}" for fault in found.faults)
        if name == SERVER and not found.faults:
            try:
                if ca_sha256(found) != manifest["ca_sha256"]:
                    yield f"{name} holds another CA than {MANIFEST}"
            except BackupError as error:
                yield f"{name}: {error}"
            store = "etcd-snapshot" if manifest["datastore"] == "etcd" else "server/db/state.db"
            if store not in found.sums:
                yield f"{name} holds no datastore ({store})"


def surplus(names: Iterable[str], made: str, keep: int) -> list[str]:
    """Stamps of backups beyond the newest `keep`, oldest first; `made` is that of the newest. 0 keeps all.

    One that is later than `made` is of a clock that was ahead. It stays, and does not count: it would have the place of
    the one that was made just now.
    """
    there = sorted({*(name for name in names if name < made), made})
    return there[:-keep] if keep > 0 else []


def prune(directory: Path, keep: int, cluster_name: str, made: str) -> list[str]:
    """Remove all finished backups of this cluster but the newest `keep`; `made` is the newest. Names of those removed.

    Backups of other clusters, and what cannot be read, stay and do not count.
    """
    own = {}
    for path in stamps(directory) if keep else []:
        with suppress(BackupError):
            if read_manifest(path)["cluster_name"] == cluster_name:
                own[path.name] = path
    gone = []
    for name in surplus(own, made, keep):
        # First under a name that is no backup's: one that is half removed must not look like one.
        trash = directory / f".part-{name}"
        own[name].rename(trash)
        shutil.rmtree(trash)
        gone.append(name)
    return gone
