"""Backups for tests: made by the board's own program from real files, and what a test changes in them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.backup import (
    archive,
    control_node,
    generations,
    seal,
    transfer,
)
from ansible_collections.edge_ai.cluster.plugins.module_utils.files import sha256_of

CA = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
SECRET = "cluster-secret"
VERSION = "v1.36.4+k3s1"
STAMP = "20261122T060000Z"
WEIGHTS = os.urandom(300_000)
root = pytest.mark.skipif(os.geteuid() != 0, reason="restores owners, which only root may")


def run_board(*arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """The program as a board runs it."""
    sources = transfer.program()
    command = [sys.executable, "-I", "-c", transfer.LOADER, str(len(sources)), *arguments]
    return subprocess.run(command, input=sources + data, capture_output=True, check=False)


def make_k3s(folder: Path) -> Path:
    """A k3s data directory without its database."""
    data = folder / "k3s"
    (data / "server/tls").mkdir(parents=True)
    (data / "server/cred").mkdir()
    (data / "server/db").mkdir()
    (data / "server/logs").mkdir()
    (data / "server/logs/audit.log").write_text("{}")
    (data / "server/tls/server-ca.crt").write_text(CA)
    (data / "server/tls/server-ca.key").write_text("key")
    token = f"K10{hashlib.sha256(CA.encode()).hexdigest()}::server:{SECRET}\n"
    (data / "server/token").write_text(token)
    (data / "server/token").chmod(0o600)
    (data / "server/node-token").symlink_to(data / "server/token")
    os.utime(data / "server/cred", (1_700_000_000, 1_700_000_000))
    return data


@pytest.fixture
def k3s(tmp_path: Path) -> Path:
    return make_k3s(tmp_path)


@contextlib.contextmanager
def database(k3s: Path) -> Iterator[sqlite3.Connection]:
    """A database that is open, the newest rows in its journal alone."""
    with contextlib.closing(sqlite3.connect(k3s / "server/db/state.db", check_same_thread=False)) as opened:
        opened.execute("PRAGMA journal_mode=WAL")
        opened.execute("PRAGMA wal_autocheckpoint=0")
        opened.execute("CREATE TABLE kine (id INTEGER PRIMARY KEY, a TEXT, b TEXT)")
        opened.commit()
        yield opened


@pytest.fixture
def live(k3s: Path) -> Iterator[sqlite3.Connection]:
    with database(k3s) as opened:
        yield opened


def give(export: Path) -> None:
    """An export belongs to the user that clients are squashed to, all but what a restore has made."""
    if os.geteuid() == 0:
        for path in (export, *export.rglob("*")):
            if not path.name.startswith(".restore-"):
                os.chown(path, 10001, 10001, follow_symlinks=False)


def make_export(folder: Path) -> Path:
    export = folder / "export"
    (export / "weights/fast").mkdir(parents=True)
    (export / "weights/fast/model.weights.h5").write_bytes(WEIGHTS)
    (export / "lost+found").mkdir()
    (export / ".restore-part").mkdir(mode=0o700)
    (export / ".nfs000012").write_text("open elsewhere")
    (export / "notes.txt").write_text("notes")
    give(export)
    return export


@pytest.fixture
def export(tmp_path: Path) -> Path:
    return make_export(tmp_path)


class Owner:
    """The two sides of a key: what the control node has, and the file that its owner keeps."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.secrets = folder / "secrets"
        self.secrets.mkdir()
        text, self.recipient = seal.new_key("home", self.secrets / seal.SIGNER)
        (self.secrets / seal.RECIPIENT).write_text(self.recipient + "\n")
        (folder / "key").write_text(text)
        self.key = seal.read_key(str(folder / "key"))

    def sign(self, backup: Path) -> None:
        content = (backup / generations.MANIFEST).read_bytes()
        (backup / generations.SIGNATURE).write_bytes(seal.sign(content, self.secrets / seal.SIGNER))

    def write(self, path: Path, tar: bytes) -> archive.Contents:
        """A part of a backup."""
        with archive.writing(path, self.recipient) as target:
            target.write(tar)
            return target.end()

    def read(self, path: Path) -> bytes:
        """A part, decrypted, as a board gets it."""
        with seal.decrypting(path, self.key) as source:
            return source.read()


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Owner:
    return Owner(tmp_path_factory.mktemp("owner") / "home")


def make_control_node(folder: Path, owner: Owner) -> dict[str, Path]:
    """Parts of a control node: secrets, and an inventory that has a link and a program."""
    secrets, inventory, elsewhere = (folder / "node" / name for name in ("secrets", "inventory", "common"))
    shutil.copytree(owner.secrets, secrets)
    (secrets / "ssh_host_keys/pi-01").mkdir(parents=True)
    (secrets / "ssh_host_keys/pi-01/key").write_text("host key")
    (secrets / "id_ed25519").write_text("login key")
    inventory.mkdir()
    elsewhere.mkdir()
    (elsewhere / "all.yml").write_text("cluster_name: home\n")
    (inventory / "group_vars").symlink_to("../common")
    (inventory / "hosts.py").write_text("#!/bin/sh\n")
    (inventory / "hosts.py").chmod(0o755)
    return {"secrets": secrets, "inventory/0": inventory, "inventory/1": elsewhere / "all.yml"}


@pytest.fixture
def node_parts(tmp_path: Path, owner: Owner) -> dict[str, Path]:
    return make_control_node(tmp_path, owner)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, owner: Owner) -> Path:
    """A finished backup, made as the role makes it but for ssh; of files that are as those of the tests."""
    folder = tmp_path_factory.mktemp("finished")
    k3s, export, parts = make_k3s(folder), make_export(folder), make_control_node(folder, owner)
    directory = folder / "backups" / "20261122T050000Z"
    directory.mkdir(parents=True)
    commands = {
        archive.SERVER: ("send-server", "--data-dir", str(k3s), "--datastore", "sqlite"),
        archive.DATA: ("send-data", "--export", str(export)),
    }
    found = {}
    with database(k3s) as opened:
        opened.execute("INSERT INTO kine (a, b) VALUES ('x', 'x')")
        opened.commit()
        for name, arguments in commands.items():
            done = run_board(*arguments)
            assert done.returncode == 0, done.stderr
            found[name] = owner.write(directory / name, done.stdout)
    with archive.writing(directory / archive.CONTROL, owner.recipient) as target:
        control_node.pack(target, parts)
        found[archive.CONTROL] = target.end()
    assert [each.faults for each in found.values()] == [[], [], []]
    files = {
        name: {
            "size": (directory / name).stat().st_size,
            "sha256": sha256_of(directory / name),
            "files": len(inner.sums),
            "bytes": inner.size,
        }
        for name, inner in found.items()
    }
    manifest = {
        "format": generations.FORMAT,
        "cluster_name": "home",
        "created": directory.name,
        "k3s_version": VERSION,
        "datastore": "sqlite",
        "server": "pi-01",
        "ca_sha256": archive.ca_sha256(found[archive.SERVER]),
        "checkout": {"commit": "c" * 40, "changed": False},
        "files": files,
    }
    (directory / generations.MANIFEST).write_text(json.dumps(manifest))
    owner.sign(directory)
    return directory


@pytest.fixture
def backup(tmp_path: Path, finished: Path) -> Path:
    """A copy of the finished backup, for each test to damage."""
    return Path(shutil.copytree(finished, tmp_path / "backups" / finished.name))


@pytest.fixture
def faults(owner: Owner) -> Callable[..., list[str]]:
    def found(backup: Path, name: str = "home", version: str = VERSION, servers: int = 1) -> list[str]:
        try:
            manifest, _ = generations.verified(backup, owner.key)
        except seal.BackupError as error:
            return [str(error)]
        return [*generations.unfit(manifest, name, version, servers), *generations.unsound(backup, manifest, owner.key)]

    return found


Faults = Callable[..., list[str]]


def change(backup: Path, owner: Owner, **values: Any) -> None:
    """What only a program with the control node's key can do."""
    path = backup / generations.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    owner.sign(backup)


def repack(backup: Path, owner: Owner, name: str, edit: Callable[[tarfile.TarFile], None]) -> None:
    """The archive with something put before its end, and a manifest that agrees."""
    with tarfile.open(fileobj=io.BytesIO(owner.read(backup / name))) as old:
        members = [(info, old.extractfile(info).read() if info.isfile() else None) for info in old]  # type: ignore[union-attr]
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as new:
        edit(new)
        for info, content in members:
            new.addfile(info, io.BytesIO(content) if content is not None else None)
    owner.write(backup / name, made.getvalue())
    agree(backup, owner, name)


def agree(backup: Path, owner: Owner, name: str) -> None:
    """Have the manifest say what an archive is now."""
    files = json.loads((backup / generations.MANIFEST).read_text())["files"]
    files[name] |= {"size": (backup / name).stat().st_size, "sha256": sha256_of(backup / name)}
    change(backup, owner, files=files)


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
