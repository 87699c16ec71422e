"""Backups on the control node, and their validation: files and the programs age and ssh-keygen, no host, no Ansible.

A backup is a directory named by its UTC stamp, with `manifest.json` and its signature, and three archives encrypted
for the owner: k3s's server/ with a copy of the datastore, the NFS export, and what a control node needs. One under
another name is not finished.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tarfile
import time
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ansible_collections.edge_ai.cluster.plugins.module_utils.archives import (
    Content,
    Entry,
    Limits,
    Target,
    copy,
    members,
)
from ansible_collections.edge_ai.cluster.plugins.module_utils.backup.stream import (
    ARCHIVE,
    BESIDE,
    LISTING,
    MOST,
    NAMED,
    SUMS,
    Packer,
    compare,
)
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import Refused, printable

from ..files import sha256_of
from ..k3s import token, version
from .seal import BackupError, Key, decrypting, encrypting, verify

#: Up to 2, backups were neither encrypted nor signed.
FORMAT = 3
MANIFEST, SIGNATURE = "manifest.json", "manifest.json.sig"
SERVER, DATA, CONTROL = "server.tar.gz.age", "data.tar.gz.age", "control.tar.gz.age"
TOPS = {SERVER: "server", DATA: "data", CONTROL: "control"}
#: What an archive may hold; the same as for its writer (bytes, members, seconds).
LIMITS = Limits(ARCHIVE, MOST, depth=128, seconds=3600)
#: What a control node's part may hold: files, and bytes of them.
FILES, BYTES = 10_000, 64 << 20
STAMP = re.compile(r"\d{8}T\d{6}Z")
#: Seconds that the clock of the machine that made a backup may be ahead of this one's.
AHEAD = 3600
#: Members of the server's archive that are read, and never longer than this (bytes).
INSPECTED, SHORT = ("server/token", "server/agent-token", "server/tls/server-ca.crt"), 1 << 16
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


@dataclass
class Contents:
    """What a tar holds: digest and size of its files, those that are read, and its faults."""

    sums: dict[str, str] = field(default_factory=dict)
    size: int = 0
    texts: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """What of the export is not in it, and why."""


def contents(source: IO[bytes], top: str, limits: Limits = LIMITS) -> Contents:
    """Read a tar to its end, and compare each file with the digest that was taken where it was read first."""
    found = Contents()
    complete = False
    try:
        for member in members(source, limits, links=True):
            name = member.info.name
            if complete:
                found.faults.append(f"goes on after {SUMS}")
                return found
            if member.content is None:
                continue
            if name == SUMS:
                if member.info.size > LISTING:
                    found.faults.append(f"has a {SUMS} of {member.info.size:,} bytes")
                    return found
                try:
                    differs, left_out = compare(member.content, found.sums)
                    # Of a board that says more of it, the manifest would be longer than one may be.
                    found.left_out = [printable(each) for each in left_out[: NAMED + 1]]
                except (ValueError, KeyError, TypeError):
                    break
                if differs is not None:
                    found.faults.append(f"{printable(repr(differs))} differs from the file that was read")
                complete = True
                continue
            if member.parts[0] != top and name not in BESIDE:
                found.faults.append(f"holds {printable(repr(name))}, which is not a part of a backup")
                return found
            if name in INSPECTED:
                content = member.content.read(SHORT)
                digest = hashlib.sha256(content).hexdigest()
                found.texts[name] = content.decode(errors="replace")
            else:
                digest = copy(member.content)
            found.sums[name] = digest
            found.size += member.info.size
    except (Refused, OSError) as error:
        found.faults.append(str(error))
        return found
    if not complete:
        found.faults.append(f"has no {SUMS} at its end: it is incomplete")
    return found


def inside(path: Path, key: Key) -> Contents:
    """What an encrypted archive holds; that it cannot be decrypted is a fault."""
    found = Contents()
    try:
        with decrypting(path, key) as source:
            found = contents(source, TOPS[path.name])
    except BackupError as error:
        found.faults = [str(error)]
    return found


class Written:
    """An archive while it is written: compressed, read back, and encrypted, since it cannot be decrypted here."""

    def __init__(self, target: IO[bytes], copied: IO[bytes], reading: Future[Contents]) -> None:
        self._target, self._copied, self._reading = target, copied, reading
        self._compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
        self._beyond = 0

    def write(self, content: bytes) -> int:
        """Some more of the tar. Raises BackupError after a fault, or its end: nothing more of it is stored."""
        if self._reading.done():
            self._beyond += len(content)
            # A tar is filled up to the length of a record.
            if self._beyond > tarfile.RECORDSIZE:
                raise BackupError("; ".join(self._reading.result().faults or ["goes on after its end"]))
        self._put(self._compressor.compress(content))
        return len(content)

    def end(self) -> Contents:
        """The tar is complete; what it holds."""
        self._put(self._compressor.flush())
        self._copied.close()
        return self._reading.result()

    def _put(self, content: bytes) -> None:
        self._copied.write(content)
        self._target.write(content)


@contextmanager
def writing(path: Path, recipient: str, limits: Limits = LIMITS) -> Iterator[Written]:
    """A new archive, that only the owner can read. Raises BackupError."""
    reader, writer = os.pipe()
    with (
        os.fdopen(reader, "rb") as source,
        ThreadPoolExecutor(1) as pool,
        os.fdopen(writer, "wb") as copied,
        encrypting(path, recipient) as target,
    ):
        reading = pool.submit(contents, source, TOPS[path.name], limits)
        # Then what is left after a fault: the writer must not wait for it.
        pool.submit(copy, Content(source))
        yield Written(target, copied, reading)


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


def pack_control(target: Any, parts: dict[str, Path]) -> None:
    """Write the files of each part, such as secrets, as a tar. Raises BackupError, OSError."""
    packer = Packer(target)
    for part, root in parts.items():
        for name, path in sorted(files_below(root).items()):
            info, content = packer.info("/".join(filter(None, ("control", part, name))), path.stat()), path.read_bytes()
            info.size = len(content)
            packer.bytes(info, content)
    packer.close()


def put_control(path: Path, key: Key, part: str, target: Path, pretend: bool) -> tuple[bool, list[str]]:
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


def ca_sha256(server: Contents) -> str:
    """Hash of the cluster's CA, as its token has it. Raises BackupError when token and CA contradict each other."""
    known = token.parse(server.texts.get("server/token", ""))
    if not known:
        raise BackupError("server/token is missing or not the full form of a token (K10...)")
    certificate = server.texts.get("server/tls/server-ca.crt", "")
    single = certificate.count("BEGIN CERTIFICATE") == 1
    # The hash of a chain is that of its root alone, which is not computed here.
    if single and hashlib.sha256(certificate.encode()).hexdigest() != known.ca_sha256:
        raise BackupError("server/token belongs to another CA than server/tls/server-ca.crt")
    return known.ca_sha256


def password_of(server: Contents, name: str = "token") -> str:
    """A secret of the cluster in its short form; empty when there is none.

    `name` is token, or agent-token: the agents' own, which in a cluster without one is a link and so is none here.
    """
    known = token.parse(server.texts.get(f"server/{name}", ""))
    return known.password if known else ""


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
