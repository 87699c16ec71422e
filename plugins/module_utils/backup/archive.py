"""Archives of a backup on the control node: written, and read to their end to compare digests."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
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
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import Refused, printable

from ..files import sha256_of
from ..k3s import token
from .packing import ARCHIVE, LISTING, MOST, NAMED, SUMS, Packer, compare
from .seal import BackupError, Key, decrypting, encrypting
from .stream import BESIDE

SERVER, DATA, CONTROL = "server.tar.gz.age", "data.tar.gz.age", "control.tar.gz.age"
TOPS = {SERVER: "server", DATA: "data", CONTROL: "control"}
#: What an archive may hold; the same as for its writer (bytes, members, seconds).
LIMITS = Limits(ARCHIVE, MOST, depth=128, seconds=3600)
#: What a control node's part may hold: files, and bytes of them.
FILES, BYTES = 10_000, 64 << 20
#: Members of the server's archive that are read, and never longer than this (bytes).
INSPECTED, SHORT = ("server/token", "server/agent-token", "server/tls/server-ca.crt"), 1 << 16


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
