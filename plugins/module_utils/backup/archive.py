"""Backups on the control node, and their validation. Pure: files only, no host, no Ansible.

A backup is a directory named by its UTC stamp, with `manifest.json`, `server.tar.gz` (k3s's server/ with a copy of
the datastore) and `data.tar.gz` (the NFS export). One under another name is not finished.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.edge_ai.cluster.plugins.module_utils.archives import Limits, copy, members
from ansible_collections.edge_ai.cluster.plugins.module_utils.backup.stream import ARCHIVE, BESIDE, MOST, SUMS
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import Refused, printable

from ..files import sha256_of
from ..k3s import token, version

#: 1 had no record of what was left out, and could not hold every name of a file.
FORMAT = 2
MANIFEST = "manifest.json"
SERVER, DATA = "server.tar.gz", "data.tar.gz"
TOPS = {SERVER: "server", DATA: "data"}
#: What an archive may hold; the same as for its writer (bytes, members, seconds).
LIMITS = Limits(ARCHIVE, MOST, depth=128, seconds=3600)
STAMP = re.compile(r"\d{8}T\d{6}Z")
#: Members of the server's archive that are read, and never longer than this (bytes).
INSPECTED, SHORT = ("server/token", "server/agent-token", "server/tls/server-ca.crt"), 1 << 16
FIELDS: dict[str, type] = {
    "format": int,
    "cluster_name": str,
    "created": str,
    "k3s_version": str,
    "datastore": str,
    "server": str,
    "ca_sha256": str,
    "files": dict,
}


class BackupError(Exception):
    """What is wrong with a backup, for the operator."""


@dataclass
class Contents:
    """What a tar holds: digest and size of its files, those that are read, and its faults."""

    sums: dict[str, str] = field(default_factory=dict)
    size: int = 0
    texts: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """What of the export is not in it, and why."""


def contents(path: Path) -> Contents:
    """Read a tar to its end, and compare each file with the digest that was taken on the board."""
    found = Contents()
    top = TOPS[path.name]
    record = b""
    try:
        with path.open("rb") as source:
            for member in members(source, LIMITS, links=True):
                name = member.info.name
                if member.content is None:
                    continue
                if name == SUMS:
                    record = member.content.read()
                    continue
                if member.parts[0] != top and name not in BESIDE:
                    found.faults.append(f"holds {printable(repr(name))}, which is no part of a backup")
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
    try:
        recorded = json.loads(record)
        expected, found.left_out = dict(recorded["sha256"]), [printable(each) for each in recorded["left_out"]]
    except (ValueError, KeyError, TypeError):
        found.faults.append(f"has no {SUMS} at its end: it is incomplete")
        return found
    different = dict(expected.items() ^ found.sums.items())
    found.faults += [f"{printable(repr(each))} differs from the board's file" for each in sorted(different)]
    return found


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
        return there[-1]
    path = directory / wanted if STAMP.fullmatch(wanted) else Path(wanted).expanduser()
    if not path.is_dir():
        raise BackupError(f"{path} is not a directory (in {directory} there are: {names})")
    return path


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest. Raises BackupError for one that is missing or misshapen."""
    path = directory / MANIFEST
    if not path.is_file():
        raise BackupError(f"{path} is missing: this is no backup, or one that was not finished")
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise BackupError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise BackupError(
            f"{path} has not format {FORMAT}, the only one that is supported; restore it with the version that made it"
        )
    wrong = [name for name, kind in FIELDS.items() if not isinstance(found.get(name), kind)]
    if wrong:
        raise BackupError(f"{path} lacks {', '.join(wrong)}")
    return found


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


def faults(directory: Path, cluster_name: str, k3s_version: str, servers: int) -> Iterator[str]:
    """Every reason against restoring a backup to this inventory, without connecting to a host."""
    try:
        manifest = read_manifest(directory)
    except BackupError as error:
        yield str(error)
        return
    if manifest["cluster_name"] != cluster_name:
        yield f"it is of the cluster {manifest['cluster_name']}, this inventory is of {cluster_name}"
    if fault := version_fault(manifest["k3s_version"], k3s_version):
        yield fault
    kind = manifest["datastore"]
    if kind not in ("sqlite", "etcd"):
        yield f"its datastore {kind!r} is not supported"
    elif (kind == "etcd") != (servers > 1):
        needs = "three servers or more" if kind == "etcd" else "one server"
        yield f"its datastore is {kind}, which is of {needs}: k3s_servers has {servers}"
    complete = True
    for name in (SERVER, *(each for each in manifest["files"] if each != SERVER)):
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
        inside = contents(directory / name)
        yield from (f"{name} {fault}" for fault in inside.faults)
        if name == SERVER and not inside.faults:
            try:
                if ca_sha256(inside) != manifest["ca_sha256"]:
                    yield f"{name} holds another CA than {MANIFEST}"
            except BackupError as error:
                yield f"{name}: {error}"
            store = "etcd-snapshot" if kind == "etcd" else "server/db/state.db"
            if store not in inside.sums:
                yield f"{name} holds no datastore ({store})"
