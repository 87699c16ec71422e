"""Archives of a backup on the control node: written, and read to their end to compare digests."""

from __future__ import annotations

import hashlib
import os
import tarfile
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ansible_collections.edge_ai.cluster.plugins.module_utils.archives import Content, Limits, copy, members
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import Refused, printable

from ..k3s import token
from .packing import ARCHIVE, LISTING, MOST, NAMED, SUMS, compare
from .seal import BackupError, Key, decrypting, encrypting
from .stream import BESIDE

SERVER, DATA, CONTROL = "server.tar.gz.age", "data.tar.gz.age", "control.tar.gz.age"
TOPS = {SERVER: "server", DATA: "data", CONTROL: "control"}
#: What an archive may hold; the same as for its writer (bytes, members, seconds).
LIMITS = Limits(ARCHIVE, MOST, depth=128, seconds=3600)
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
