"""Backups on the control node: made by the board's own program from real files, truncated, forged, mixed up."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.edge_ai.cluster.plugins.action import cluster_backup as action
from ansible_collections.edge_ai.cluster.plugins.module_utils import archives
from ansible_collections.edge_ai.cluster.plugins.module_utils.backup import (
    archive,
    generations,
    packing,
    place,
    seal,
    stream,
    transfer,
)
from ansible_collections.edge_ai.cluster.plugins.modules.cluster_backup_state import freed, state_of_export

CA = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
SECRET = "cluster-secret"
VERSION = "v1.36.4+k3s1"
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
def control_node(tmp_path: Path, owner: Owner) -> dict[str, Path]:
    return make_control_node(tmp_path, owner)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, owner: Owner) -> Path:
    """A finished backup, made as the role makes it but for ssh; of files that are as those of the tests."""
    folder = tmp_path_factory.mktemp("finished")
    k3s, export, control_node = make_k3s(folder), make_export(folder), make_control_node(folder, owner)
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
        archive.pack_control(target, control_node)
        found[archive.CONTROL] = target.end()
    assert [each.faults for each in found.values()] == [[], [], []]
    files = {
        name: {
            "size": (directory / name).stat().st_size,
            "sha256": archive.sha256_of(directory / name),
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
    files[name] |= {"size": (backup / name).stat().st_size, "sha256": archive.sha256_of(backup / name)}
    change(backup, owner, files=files)


def test_a_backup_is_whole_and_has_the_rows_that_were_only_in_the_journal(
    backup: Path, tmp_path: Path, owner: Owner, faults: Faults
) -> None:
    assert faults(backup) == []
    assert faults(backup, version="v1.36.5+k3s1") == faults(backup, version="v1.37.0+k3s1") == []
    with tarfile.open(fileobj=io.BytesIO(owner.read(backup / archive.SERVER))) as tar:
        names = tar.getnames()
        member = tar.extractfile("server/db/state.db")
        assert member
        (tmp_path / "state.db").write_bytes(member.read())
    assert not [name for name in names if name.endswith(("-wal", "-shm"))]
    assert names[-1] == archive.SUMS
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as copy:
        assert copy.execute("SELECT count(*) FROM kine").fetchone() == (1,)


def test_what_is_no_data_stays_out(backup: Path, owner: Owner) -> None:
    assert set(archive.inside(backup / archive.DATA, owner.key).sums) == {
        "data/notes.txt",
        "data/weights/fast/model.weights.h5",
    }


def test_an_empty_export_is_data_too(tmp_path: Path, owner: Owner) -> None:
    (tmp_path / "export").mkdir()
    give(tmp_path / "export")
    done = run_board("send-data", "--export", str(tmp_path / "export"))
    assert owner.write(tmp_path / archive.DATA, done.stdout) == archive.Contents()
    assert archive.inside(tmp_path / archive.DATA, owner.key) == archive.Contents()


@pytest.mark.parametrize("name", [archive.SERVER, archive.DATA])
def test_a_truncated_archive_is_refused(backup: Path, name: str, owner: Owner, faults: Faults) -> None:
    path = backup / name
    path.write_bytes(path.read_bytes()[:-100])
    assert [f"{name} has {path.stat().st_size} bytes" in fault for fault in faults(backup)] == [True]
    # Even with a manifest that was changed to match.
    agree(backup, owner, name)
    assert f"{name} {name}: decrypt: age: error: " in faults(backup)[0]


def test_an_archive_that_was_cut_where_tar_sees_no_end_is_refused(backup: Path, owner: Owner) -> None:
    """A stream that broke off between two members, compressed to a whole gzip file."""
    path = backup / archive.DATA
    plain = gzip.decompress(owner.read(path))
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        last = tar.getmember(archive.SUMS).offset
    found = owner.write(path, plain[:last] + b"\0" * 1024)
    assert (
        found.faults
        == archive.inside(path, owner.key).faults
        == ["has no SHA256SUMS.json at its end: it is incomplete"]
    )


@pytest.mark.parametrize("offset", [0.2, 0.5, 0.9])
def test_a_flipped_byte_is_refused(backup: Path, offset: float, faults: Faults) -> None:
    path = backup / archive.DATA
    content = bytearray(path.read_bytes())
    content[int(len(content) * offset)] ^= 1
    path.write_bytes(content)
    assert faults(backup) == [f"{archive.DATA} was changed or damaged: its SHA-256 is not the one in manifest.json"]


def test_a_changed_file_with_a_matching_manifest_is_refused(backup: Path, owner: Owner, faults: Faults) -> None:
    def forge(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo("data/added.txt")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"added"))

    repack(backup, owner, archive.DATA, forge)
    assert faults(backup) == [f"{archive.DATA} 'data/added.txt' differs from the file that was read"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "data/../../x"])
def test_names_that_lead_elsewhere_are_refused_here_and_on_the_board(
    backup: Path, tmp_path: Path, name: str, owner: Owner, faults: Faults
) -> None:
    def forge(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))

    repack(backup, owner, archive.DATA, forge)
    assert any("leads elsewhere" in fault for fault in faults(backup))
    target = tmp_path / "target"
    target.mkdir()
    sent = run_board("take-data", "--export", str(target), "--stamp", "s", data=owner.read(backup / archive.DATA))
    assert sent.returncode == 1
    assert b"leads elsewhere" in sent.stderr
    assert [each.name for each in target.iterdir()] == [".restore-part"]


@pytest.mark.parametrize("inner", ["file", "sub/evil", "sub/deeper/evil"])
def test_files_are_not_written_through_links(backup: Path, tmp_path: Path, owner: Owner, inner: str) -> None:
    """Neither into the folder that a link of the archive leads to, nor into one below it."""
    (tmp_path / "outside/sub/deeper").mkdir(parents=True)
    (tmp_path / "target").mkdir()

    def forge(tar: tarfile.TarFile) -> None:
        link = tarfile.TarInfo("data/link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "outside")
        tar.addfile(link)
        info = tarfile.TarInfo(f"data/link/{inner}")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))

    repack(backup, owner, archive.DATA, forge)
    content = owner.read(backup / archive.DATA)
    sent = run_board("take-data", "--export", str(tmp_path / "target"), "--stamp", "s", data=content)
    assert sent.returncode == 1
    assert b"leads over a link" in sent.stderr
    assert not [path for path in (tmp_path / "outside").rglob("*") if path.is_file()]


@pytest.mark.parametrize("swapped", ["a", "a/b", "a/b/c"])
def test_an_ancestor_that_becomes_a_link_meanwhile_is_not_followed(tmp_path: Path, swapped: str) -> None:
    """Each folder above a file, replaced by a link to elsewhere between two members."""
    outside, target = tmp_path / "outside", tmp_path / "target"
    for folder in (outside / "b/c", outside / "c", target):
        folder.mkdir(parents=True)
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:gz") as made:
        for number in (1, 2):
            info = tarfile.TarInfo(f"a/b/c/{number}")
            info.size = 1
            made.addfile(info, io.BytesIO(b"x"))
    tar.seek(0)
    with contextlib.closing(archives.Target(target)) as folder:
        for member in archives.members(tar, archives.Limits(1 << 20)):
            assert member.content
            if member.parts[-1] == "1":
                for depth in range(1, len(member.parts)):
                    folder.make_folder(member.parts[:depth], archives.Entry(0o755))
                with folder.file(member.parts, archives.Entry(0o644)) as file:
                    archives.copy(member.content, file)
                (target / swapped).rename(tmp_path / "moved")
                (target / swapped).symlink_to(outside / swapped.removeprefix("a").lstrip("/"))
                continue
            with (
                pytest.raises(archives.Refused, match="leads over a link"),
                folder.file(member.parts, archives.Entry(0o644)) as file,
            ):
                archives.copy(member.content, file)
    assert not [path for path in outside.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"cluster_name": "other"}, "it is of the cluster other, this inventory is of home"),
        ({"k3s_version": "v1.36.5+k3s1"}, "is newer than k3s_version v1.36.4+k3s1"),
        ({"k3s_version": "v1.34.9+k3s1"}, "skips minor releases"),
        ({"k3s_version": "stable"}, "cannot be compared"),
        ({"datastore": "etcd"}, "needs|three servers"),
        ({"datastore": "mysql"}, "is not supported"),
        ({"ca_sha256": "0" * 64}, "holds another CA"),
        ({"format": 2}, "has format 2: a backup of before they were encrypted and signed"),
        ({"format": 4}, "has not format 3"),
        ({"created": "../../etc"}, "created is not a time stamp"),
        ({"created": "20261122T050001Z"}, "its directory has another backup's name"),
        ({"server": None}, "lacks server"),
        ({"files": {}}, "no entry for server.tar.gz.age"),
        ({"files": {"server.tar.gz.age": {}, "../x": {}}}, "not supported"),
    ],
)
def test_foreign_and_newer_backups_are_refused(
    backup: Path, values: dict[str, Any], words: str, owner: Owner, faults: Faults
) -> None:
    change(backup, owner, **values)
    assert any(word in "; ".join(faults(backup)) for word in words.split("|"))


def test_all_reasons_are_listed_at_once(backup: Path, owner: Owner, faults: Faults) -> None:
    change(backup, owner, cluster_name="other", k3s_version="v1.37.0+k3s1")
    (backup / archive.SERVER).unlink()
    (backup / archive.DATA).write_bytes(b"x")
    assert len(faults(backup)) == 4


def test_unfinished_backups_are_none(backup: Path, faults: Faults) -> None:
    there = backup.parent
    shutil.copytree(backup, there / ".part-20261122T060000Z")
    (there / "20261122T070000Z").mkdir()
    assert generations.stamps(there) == [backup]
    assert generations.choose("latest", there) == generations.choose(backup.name, there) == backup
    with pytest.raises(generations.BackupError, match=r"restore_from is missing.*20261122T050000Z"):
        generations.choose("", there)
    with pytest.raises(generations.BackupError, match="holds no backup"):
        generations.choose("latest", there / "none")
    assert "not finished" in faults(there / "20261122T070000Z")[0]


def test_a_manifest_of_any_length_or_depth_is_refused_in_little_memory(backup: Path, faults: Faults) -> None:
    manifest = backup / generations.MANIFEST
    manifest.write_text("[" * 1_000_000)
    assert "is not JSON" in faults(backup)[0]
    # More than a machine has.
    os.truncate(manifest, 1 << 42)
    assert "is not JSON" in faults(backup)[0]


def test_what_is_no_api_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            connection.sendall(b"SSH-2.0-OpenSSH\r\n")
            connection.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        assert action.running_apis([f"http://127.0.0.1:{server.getsockname()[1]}"]) == {}
        thread.join()


def test_an_api_that_sends_a_byte_at_a_time_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                for _ in range(100):
                    connection.sendall(b"x")
                    time.sleep(0.1)

        threading.Thread(target=drip, daemon=True).start()
        begun = time.monotonic()
        assert action.running_apis([f"http://127.0.0.1:{server.getsockname()[1]}"], seconds=1) == {}
        assert time.monotonic() - begun < 5


def test_only_the_oldest_of_this_cluster_go_and_none_by_default(backup: Path, owner: Owner) -> None:
    there = backup.parent
    for hour in (6, 7, 8):
        shutil.copytree(backup, there / f"20261122T0{hour}0000Z")
    change(there / "20261122T060000Z", owner, cluster_name="other")
    assert generations.prune(there, 0, "home", "20261122T080000Z") == []
    assert generations.prune(there, 2, "home", "20261122T080000Z") == [backup.name]
    assert sorted(each.name for each in there.iterdir()) == [f"20261122T0{hour}0000Z" for hour in (6, 7, 8)]


@pytest.mark.parametrize(
    ("names", "made", "keep", "gone"),
    [
        ("1 2 3", "3", 2, "1"),
        ("1 2 3", "3", 0, ""),
        ("1 2 3", "3", 9, ""),
        # The clock was ahead when 8 and 9 were made: they are neither counted nor removed.
        ("1 2 3 8 9", "3", 2, "1"),
        ("3 9", "3", 1, ""),
        ("9", "3", 1, ""),
        ("", "3", 1, ""),
    ],
)
def test_the_newest_stay_whatever_the_clock_was(names: str, made: str, keep: int, gone: str) -> None:
    assert generations.surplus(names.split(), made, keep) == gone.split()


def test_backups_of_other_clusters_in_the_directory_do_not_count(backup: Path, owner: Owner) -> None:
    for hour in (6, 7, 8):
        shutil.copytree(backup, backup.parent / f"20261122T0{hour}0000Z")
    for hour in (6, 7):
        change(backup.parent / f"20261122T0{hour}0000Z", owner, cluster_name="other")
    assert generations.prune(backup.parent, 2, "home", "20261122T080000Z") == []


def test_the_latest_is_none_that_is_of_the_future(backup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generations.time, "time", lambda: 1_795_321_800.0)  # 04:30, within the hour
    assert generations.choose("latest", backup.parent) == backup
    monkeypatch.setattr(generations.time, "time", lambda: 1_795_237_200.0)  # on the day before
    with pytest.raises(
        generations.BackupError, match=r"after now, which is 20261121T.*set the clock.*20261122T050000Z\)"
    ):
        generations.choose("latest", backup.parent)
    assert generations.choose(backup.name, backup.parent) == backup


def make_task(folder: Path, owner: Owner, **more: Any) -> dict[str, Any]:
    """What makes a backup of a board, which is this machine."""
    k3s, export = make_k3s(folder), make_export(folder)
    with database(k3s):
        pass
    commands = {
        archive.SERVER: ["send-server", "--data-dir", str(k3s), "--datastore", "sqlite"],
        archive.DATA: ["send-data", "--export", str(export)],
    }
    ssh = {"name": "pi-01", "host": "pi-01", "connection": "local"}
    return {
        "directory": str(folder / "backups"),
        "secrets": str(owner.secrets),
        "inventories": [],
        "keep": 1,
        "copy_to": "",
        "copy_ssh_args": "",
        "timeout": 60,
        "manifest": {"cluster_name": "home", "k3s_version": VERSION, "datastore": "sqlite", "server": "pi-01"},
        "parts": [{"name": name, "title": name, "ssh": ssh, "arguments": args} for name, args in commands.items()],
        **more,
    }


@root
def test_a_backup_that_was_made_just_now_is_never_removed(
    backup: Path, owner: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(backup, backup.with_name("20271122T050000Z"))
    change(backup.with_name("20271122T050000Z"), owner, created="20271122T050000Z")
    monkeypatch.setattr(generations, "stamp", lambda _: "20261123T000000Z")
    disk = tmp_path / "disk"
    disk.mkdir()
    task = make_task(tmp_path / "board", owner, directory=str(backup.parent), copy_to=str(disk))
    done = action.make(task, print)
    assert Path(done["backup"]).is_dir()
    assert "; removed 20261122T050000Z\nCopied to " in done["msg"]
    assert [each.name for each in generations.stamps(backup.parent)] == ["20261123T000000Z", "20271122T050000Z"]
    assert [each.name for each in generations.stamps(disk / "home")] == ["20261123T000000Z"]
    # Both are on one disk here.
    assert "is on the same disk as" in done["warnings"][0]


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@root
@pytest.mark.parametrize("size", ["64k", "220k"])
def test_a_disk_that_fills_meanwhile_ends_the_backup_and_has_its_room_again(
    owner: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    """The room was there when the backup began."""
    monkeypatch.setattr(action.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 40))
    with small_disk(tmp_path / "disk", size) as disk:
        task = make_task(tmp_path / "board", owner, directory=str(disk / "b"))
        with pytest.raises((seal.BackupError, OSError), match=r"(?i)no space left"):
            action.make(task, print)
        assert sorted(path.name for path in (disk / "b").iterdir()) == [".lock"]


@root
@pytest.mark.parametrize("remote", [False, True])
def test_a_second_place_that_is_full_keeps_nothing_of_the_copy(backup: Path, tmp_path: Path, remote: bool) -> None:
    with small_disk(tmp_path / "disk", "200k") as disk:
        (disk / "home").mkdir()
        to, options = (f"pi@nas:{disk}", "-D /usr/lib/openssh/sftp-server") if remote else (str(disk), "")
        with pytest.raises((seal.BackupError, OSError), match=r"is its disk full\?|No space left"):
            place.copy(backup, to, "home", 2, options, 60)
        assert list((disk / "home").iterdir()) == []


@root
def test_a_backup_whose_manifest_is_too_long_to_be_read_is_not_kept(owner: Owner, tmp_path: Path) -> None:
    task = make_task(tmp_path / "board", owner, directory=str(tmp_path / "b"))
    # As the server says it.
    task["manifest"]["k3s_version"] = "v" * (5 << 20)
    with pytest.raises(seal.BackupError, match="is not JSON"):
        action.make(task, print)
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == [".lock"]


def test_two_backups_at_once_are_refused(tmp_path: Path) -> None:
    with action.alone(tmp_path / "b"), pytest.raises(Exception, match="is running"), action.alone(tmp_path / "b"):
        pass
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o700


def test_a_copy_taken_while_rows_are_written_is_one_moment(k3s: Path, live: Any, tmp_path: Path) -> None:
    """Each transaction writes two equal halves: a copy that mixes two moments would show it."""
    stop = threading.Event()

    def write() -> None:
        with contextlib.closing(sqlite3.connect(k3s / "server/db/state.db", timeout=30)) as own:
            number = 0
            while not stop.is_set():
                number += 1
                with own:
                    own.execute("INSERT INTO kine (a, b) VALUES (?, ?)", (str(number) * 50, "open"))
                    own.execute("UPDATE kine SET b = a WHERE b = 'open'")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            time.sleep(0.05)
            stream.copy_sqlite(k3s / "server/db/state.db", tmp_path / f"{number}.db")
            with contextlib.closing(sqlite3.connect(tmp_path / f"{number}.db")) as copy:
                assert copy.execute("SELECT count(*) FROM kine WHERE a != b").fetchone() == (0,)
                assert copy.execute("SELECT max(id) - count(*) FROM kine").fetchone()[0] in (None, 0)
    finally:
        stop.set()
        writer.join()


def test_a_damaged_datastore_is_no_backup(k3s: Path) -> None:
    path = k3s / "server/db/state.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE kine (id INTEGER PRIMARY KEY, a TEXT)")
        database.executemany("INSERT INTO kine (a) VALUES (?)", [("x" * 500,)] * 500)
        database.commit()
    content = bytearray(path.read_bytes())
    content[8192:12288] = os.urandom(4096)
    path.write_bytes(content)
    done = run_board("send-server", "--data-dir", str(k3s), "--datastore", "sqlite")
    assert done.returncode == 1
    assert b"malformed" in done.stderr or b"damaged" in done.stderr
    assert not list(k3s.glob("backup-*"))


def test_weights_that_are_replaced_meanwhile_are_never_torn(export: Path, tmp_path: Path) -> None:
    """A writer renames new weights, each of one byte value, over the old ones as training does."""
    path, stop = export / "weights/fast/model.weights.h5", threading.Event()
    path.write_bytes(b"0" * 400_000)

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            fresh = path.with_suffix(".new")
            fresh.write_bytes(bytes([number % 256]) * 400_000)
            fresh.rename(path)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(4):
            done = run_board("send-data", "--export", str(export))
            assert done.returncode == 0, done.stderr
            with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
                source = tar.extractfile("data/weights/fast/model.weights.h5")
                assert source
                content = source.read()
            assert len(content) == 400_000
            assert len(set(content)) == 1
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize("whole", [64 << 20, 1000])
def test_a_file_that_changes_each_time_fails_the_backup(
    export: Path, whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "WHOLE", whole)
    monkeypatch.setattr(packing.time, "sleep", lambda seconds: None)
    ticks = iter(range(10_000))
    plain = os.fstat

    def fstat(descriptor: int) -> Any:
        found = list(plain(descriptor))
        return type(
            "S", (), {"st_mode": found[0], "st_uid": 0, "st_gid": 0, "st_size": found[6], "st_mtime_ns": next(ticks)}
        )()

    monkeypatch.setattr(packing.os, "fstat", fstat)
    packer = packing.Packer(io.BytesIO())
    with pytest.raises(packing.Torn, match="data/x"):
        packer.path(export / "weights/fast/model.weights.h5", "data/x")


@root
def test_a_server_is_restored_with_times_modes_links_and_its_node_password(
    backup: Path, k3s: Path, tmp_path: Path, owner: Owner
) -> None:
    target = tmp_path / "rancher/fresh"
    content = owner.read(backup / archive.SERVER)
    take = ("take-server", "--data-dir", str(target), "--marker", "m 1", "--stamp", "20261122T060000Z")
    assert run_board(*take, data=content[: len(content) // 2]).returncode == 1
    assert not (target / "server").exists()
    done = run_board(*take, data=content)
    assert done.returncode == 0, done.stderr
    assert (target / "server/token").read_text() == (k3s / "server/token").read_text()
    assert (target / "server/token").stat().st_mode & 0o777 == 0o600
    assert [each.stat().st_mode & 0o777 for each in (target, target.parent)] == [0o755, 0o755]
    assert (target / "server/cred").stat().st_mtime == 1_700_000_000
    assert (target / "server/node-token").is_symlink()
    # The log of another time; k3s makes a new one.
    assert not (target / "server/logs").exists()
    assert (target / "server/.restored-from").read_text() == "m 1\n"
    again = run_board(*take, data=content)
    assert b"is not overwritten" in again.stderr
    assert run_board(*take, "--replace", data=content).returncode == 0
    assert (target / "server.before-restore-20261122T060000Z/token").exists()


@root
def test_the_database_of_the_hub_is_in_the_backup_as_one_moment(k3s: Path, live: Any, tmp_path: Path) -> None:
    send = ("send-server", "--data-dir", str(k3s), "--datastore", "sqlite")
    take = ("take-server", "--marker", "m 1", "--stamp", "20261122T060000Z", "--data-dir")
    live.execute("INSERT INTO kine (a, b) VALUES ('x', 'x')")
    live.commit()
    without = gzip.compress(run_board(*send).stdout)
    (k3s / "edge-ai-hub").mkdir()
    with contextlib.closing(sqlite3.connect(k3s / "edge-ai-hub/jupyterhub.sqlite", isolation_level=None)) as hub:
        hub.execute("CREATE TABLE users (name TEXT)")
        hub.execute("INSERT INTO users VALUES ('alice')")
        # What the hub has not yet written to its end.
        hub.execute("BEGIN IMMEDIATE")
        hub.execute("INSERT INTO users VALUES ('bob')")
        sent = run_board(*send)
    assert sent.returncode == 0, sent.stderr
    target = tmp_path / "rancher/fresh"
    assert run_board(*take, str(target), data=without).returncode == 0
    assert not (target / "edge-ai-hub").exists()
    # A database that is there, with the journal of a write that did not end, is replaced.
    (target / "edge-ai-hub").mkdir()
    for name in ("jupyterhub.sqlite", "jupyterhub.sqlite-journal"):
        (target / "edge-ai-hub" / name).write_text("old")
    assert run_board(*take, str(target), "--replace", data=gzip.compress(sent.stdout)).returncode == 0
    (path,) = (target / "edge-ai-hub").iterdir()
    with contextlib.closing(sqlite3.connect(path)) as restored:
        assert restored.execute("SELECT name FROM users").fetchall() == [("alice",)]
    for each, mode in ((path, 0o660), (path.parent, 0o2770)):
        assert (each.stat().st_uid, each.stat().st_gid, each.stat().st_mode & 0o7777) == (10001, 10001, mode)


@root
def test_data_is_restored_to_an_empty_export_only_and_an_interrupted_restore_is_continued(
    backup: Path, export: Path, tmp_path: Path, owner: Owner
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    content = owner.read(backup / archive.DATA)
    take = ("take-data", "--export", str(target), "--stamp", "20261122T050000Z")
    assert run_board(*take, data=content[: len(content) // 2]).returncode == 1
    # The next run begins with its removal, so what it holds is room.
    left = target / ".restore-part"
    (left / "half").write_bytes(b"x" * 10_000)
    assert 10_000 <= freed(left) < 1_000_000
    give(left)
    os.chown(left, 10001, 10001)
    assert freed(left) == 0
    os.chown(left, 0, 0)
    done = run_board(*take, data=content)
    assert done.returncode == 0, done.stderr
    assert (target / "weights/fast/model.weights.h5").read_bytes() == (
        export / "weights/fast/model.weights.h5"
    ).read_bytes()
    assert sorted(each.name for each in target.iterdir()) == ["notes.txt", "weights"]
    assert b"is not empty" in run_board(*take, data=content).stderr
    assert not state_of_export(target)["restart_pods"]
    (target / "notes.txt").write_text("mine")
    assert run_board(*take, "--replace", data=content).returncode == 0
    assert (target / ".before-restore-20261122T050000Z/notes.txt").read_text() == "mine"
    # Killed between two of the renames.
    (target / ".restore-20261122T050000Z").mkdir(mode=0o700)
    (target / "notes.txt").rename(target / ".restore-20261122T050000Z/notes.txt")
    assert run_board(*take, data=b"").returncode == 0
    assert (target / "notes.txt").read_text() == "notes"
    assert not (target / ".restore-20261122T050000Z").exists()


@root
def test_a_restore_into_an_empty_export_leaves_a_mark_for_its_pods(backup: Path, tmp_path: Path, owner: Owner) -> None:
    target = tmp_path / "target"
    target.mkdir()
    content = owner.read(backup / archive.DATA)
    take = ("take-data", "--export", str(target), "--stamp", STAMP, "--restart-pods")
    # The first run is killed while it sends, the second completes it and is killed before it stops pods.
    assert run_board(*take, data=content[: len(content) // 2]).returncode == 1
    state = state_of_export(target)
    assert (state["empty"], state["restart_pods"]) == (True, True)
    assert run_board(*take, data=content).returncode == 0
    state = state_of_export(target)
    assert (state["empty"], state["restart_pods"], state["resuming"]) == (False, True, [])
    # It is no data, and pods are not restarted where data was there all along.
    (target / ".restore-pods").rmdir()
    assert run_board(*take, "--replace", data=content).returncode == 0
    assert not (target / ".restore-pods").exists()
    # What a notebook makes is not believed.
    (target / ".restore-pods").mkdir()
    os.chown(target / ".restore-pods", 10001, 10001)
    assert not state_of_export(target)["restart_pods"]


def test_the_token_of_another_cluster_is_kept_beside(backup: Path, tmp_path: Path, owner: Owner) -> None:
    there = tmp_path / "secrets/k3s-token"
    agents = there.with_name("k3s-agent-token")
    task = {
        "directory": str(backup),
        "identity": str(owner.key.path),
        "expect": {"token_file": str(there), "agent_token_file": str(agents)},
    }
    assert action.token(task, pretend=True) == {"changed": True}
    assert not there.exists()
    assert action.token(task, pretend=False) == {"changed": True}
    assert there.read_text() == SECRET + "\n"
    assert there.stat().st_mode & 0o777 == 0o600
    assert action.token(task, pretend=False) == {"changed": False}
    there.write_text("another\n")
    action.token(task, pretend=False)
    assert (there.parent / f"k3s-token.before-{backup.name}").read_text() == "another\n"
    # The backup's cluster has none of its own for agents: one that lies there is of another cluster.
    agents.write_text("another\n")
    assert action.token(task, pretend=False) == {"changed": True}
    assert not agents.exists()


STAMP = "20261122T060000Z"


def moved(source: Path, target: Path, *options: str) -> dict[str, Any]:
    """The result of moving an export on this machine."""
    here = {"connection": "local", "host": "localhost"}
    taken = ["take-data", "--export", str(target), "--stamp", STAMP, *options]
    return transfer.move(
        {"title": "old", "ssh": here, "arguments": ["send-data", "--export", str(source)]},
        {"title": "new", "ssh": here, "arguments": taken},
        60,
        print,
    )


@root
def test_data_moves_to_an_empty_export_and_stays_in_the_old_one(export: Path, tmp_path: Path) -> None:
    weights = (export / "weights/fast/model.weights.h5").read_bytes()
    target = tmp_path / "new"
    (target / "lost+found").mkdir(parents=True)
    give(target)
    moved(export, target)
    assert (target / "weights/fast/model.weights.h5").read_bytes() == weights
    assert (target / "weights/fast/model.weights.h5").stat().st_uid == 10001
    assert (export / "weights/fast/model.weights.h5").read_bytes() == weights
    assert sorted(each.name for each in target.iterdir()) == ["lost+found", "notes.txt", "weights"]
    # By which an interrupted move is known to have copied all.
    assert state_of_export(target)["digest"] == state_of_export(export)["digest"] != state_of_export(tmp_path)["digest"]
    # Of another size: times are compared by the second.
    (export / "notes.txt").write_text("written later")
    assert state_of_export(target)["digest"] != state_of_export(export)["digest"]


@root
def test_data_that_is_there_is_not_overwritten_by_a_move(export: Path, tmp_path: Path) -> None:
    target = tmp_path / "new"
    target.mkdir()
    (target / "notes.txt").write_text("mine")
    give(target)
    with pytest.raises(action.AnsibleActionFail, match=r"new: .*is not empty"):
        moved(export, target)
    assert [each.name for each in target.iterdir()] == ["notes.txt"]
    moved(export, target, "--replace")
    assert (target / "notes.txt").read_text() == "notes"
    assert (target / f".before-restore-{STAMP}" / "notes.txt").read_text() == "mine"


@root
def test_a_move_that_cannot_be_read_to_its_end_puts_nothing_in_place(tmp_path: Path) -> None:
    target = tmp_path / "new"
    target.mkdir()
    give(target)
    with pytest.raises(action.AnsibleActionFail, match=r"^old: .*missing"):
        moved(tmp_path / "missing", target)
    assert [each.name for each in target.iterdir() if each.name != ".restore-part"] == []


# --- encryption, signature, the control node's part, the second place -------------------------------------------------


def open_task(backup: Path, owner: Owner, **values: Any) -> dict[str, Any]:
    return {
        "identity": str(owner.key.path),
        "directory": str(backup.parent),
        "wanted": str(backup),
        "cluster_name": "home",
        **values,
    }


def test_nothing_of_a_backup_can_be_read_without_the_key(
    backup: Path, owner: Owner, tmp_path: Path, control_node: dict[str, Path]
) -> None:
    texts = [path.read_bytes() for path in backup.iterdir()]
    for secret in (SECRET, "login key", "AGE-SECRET-KEY", "OPENSSH PRIVATE"):
        assert not any(secret.encode() in text for text in texts)
    assert {path.stat().st_mode & 0o777 for path in backup.glob("*.age")} == {0o600}
    # The control node cannot either: it has whom to encrypt for.
    names = {path.name for path in control_node["secrets"].iterdir()}
    assert {seal.RECIPIENT, seal.SIGNER, f"{seal.SIGNER}.pub"} < names
    assert not any(b"AGE-SECRET-KEY" in path.read_bytes() for path in owner.secrets.iterdir())
    other = Owner(tmp_path / "other")
    assert "no identity matched" in archive.inside(backup / archive.DATA, other.key).faults[0]


def test_a_backup_of_another_owner_a_changed_one_and_an_unsigned_one_are_refused_each_by_name(
    backup: Path, owner: Owner, tmp_path: Path, faults: Faults
) -> None:
    # An attacker who knows the recipient, which is no secret, puts a backup of their own in its place.
    content = (backup / generations.MANIFEST).read_bytes()
    other = Owner(tmp_path / "other")
    other.sign(backup)
    assert "it was signed with another key" in faults(backup)[0]
    owner.sign(backup)
    assert faults(backup) == []
    (backup / generations.MANIFEST).write_bytes(content.replace(b"pi-01", b"pi-02"))
    assert "was changed after it was signed" in faults(backup)[0]
    (backup / generations.MANIFEST).write_bytes(content)
    (backup / generations.SIGNATURE).write_text("none")
    assert "was changed after it was signed, or its signature was" in faults(backup)[0]
    (backup / generations.SIGNATURE).unlink()
    assert "manifest.json.sig is missing" in faults(backup)[0]


def test_a_signature_for_another_purpose_is_none(backup: Path, owner: Owner, faults: Faults) -> None:
    content = (backup / generations.MANIFEST).read_bytes()
    command = ["ssh-keygen", "-Y", "sign", "-n", "file", "-f", str(owner.secrets / seal.SIGNER)]
    done = subprocess.run(command, input=content, capture_output=True, check=True)
    (backup / generations.SIGNATURE).write_bytes(done.stdout)
    assert "was changed after it was signed, or its signature was" in faults(backup)[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        ("", "is not a key of backups"),
        ("AGE-SECRET-KEY-1X\n", "is not a key of backups"),
        ("# signer: AAAA\n", "is not a key of backups"),
        ("age-encryption.org/v1\n-> scrypt x 18\n", "is encrypted with a passphrase"),
        ("-----BEGIN AGE ENCRYPTED FILE-----\n", "is encrypted with a passphrase"),
    ],
)
def test_a_key_that_is_missing_or_not_whole_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "key").write_text(text)
    with pytest.raises(seal.BackupError, match=words):
        seal.read_key(str(tmp_path / "key"))
    with pytest.raises(seal.BackupError, match="write -e cluster_backup_identity=PATH"):
        seal.read_key("")


def test_opening_says_which_checkout_made_it(backup: Path, owner: Owner) -> None:
    found = action.open_backup(open_task(backup, owner))
    assert found["changed"] is False and found["data"] is True
    assert f"was made by commit {'c' * 40}, this checkout is commit" in found["msg"][1]
    assert action.differs({"commit": "a", "changed": False}, {"commit": "a", "changed": False}) == ""
    assert "with changes" in action.differs({"commit": "a", "changed": True}, {"commit": "a", "changed": False})


@pytest.mark.parametrize("name", [archive.SERVER, archive.DATA, archive.CONTROL])
def test_opening_refuses_before_anything_is_written(backup: Path, owner: Owner, name: str) -> None:
    content = bytearray((backup / name).read_bytes())
    content[-1] ^= 1
    (backup / name).write_bytes(content)
    with pytest.raises(Exception, match=f"nothing was changed:\n  {name} was changed or damaged"):
        action.open_backup(open_task(backup, owner))
    with pytest.raises(Exception, match="it is of the cluster home, this inventory is of other"):
        action.open_backup(open_task(backup, owner, cluster_name="other"))


def test_a_new_control_node_gets_secrets_and_inventory(
    backup: Path, owner: Owner, tmp_path: Path, control_node: dict[str, Path]
) -> None:
    new = tmp_path / "new"
    targets = {"secrets": new / "secrets/home", "inventory/0": new / "inventory/home", "inventory/1": new / "more.yml"}
    task = {
        "identity": str(owner.key.path),
        "directory": str(backup),
        "targets": {part: str(path) for part, path in targets.items()},
    }
    assert action.control(task, pretend=True)["changed"] is True
    assert not new.exists()
    # An empty folder is none.
    targets["secrets"].mkdir(parents=True)
    done = action.control(task, pretend=False)
    assert done == {"changed": True, "msg": [f"{path}: restored" for path in targets.values()]}
    for part, path in targets.items():
        here, there = archive.files_below(path), archive.files_below(control_node[part])
        assert {name: each.read_bytes() for name, each in here.items()} == {
            name: each.read_bytes() for name, each in there.items()
        }
    assert {each.stat().st_mode & 0o777 for each in targets["secrets"].rglob("*") if each.is_file()} == {0o600}
    assert {each.stat().st_mode & 0o777 for each in targets["secrets"].rglob("*") if each.is_dir()} == {0o700}
    assert (targets["inventory/0"] / "hosts.py").stat().st_mode & 0o777 == 0o755
    assert not list(new.rglob(".*"))
    assert action.control(task, pretend=False) == {"changed": False, "msg": []}
    # Other secrets are never overwritten, and what differs is said.
    (targets["secrets"] / "id_ed25519").write_text("mine")
    (targets["secrets"] / "ssh_host_keys/pi-01/key").unlink()
    again = action.control(task, pretend=False)
    assert again["changed"] is False
    assert "is kept, though it is not as in the backup: id_ed25519, ssh_host_keys/pi-01/key." in again["msg"][0]
    assert (targets["secrets"] / "id_ed25519").read_text() == "mine"


def test_secrets_that_are_partly_lost_are_completed(
    backup: Path, owner: Owner, tmp_path: Path, control_node: dict[str, Path]
) -> None:
    secrets = tmp_path / "new/secrets"
    shutil.copytree(control_node["secrets"], secrets)
    shutil.rmtree(secrets / "ssh_host_keys")
    (secrets / "id_ed25519").unlink()
    (secrets / "of-later").write_text("is not in the backup")
    task = {"identity": str(owner.key.path), "directory": str(backup), "targets": {"secrets": str(secrets)}}
    assert action.control(task, pretend=True) == {"changed": True, "msg": [f"{secrets}: would be restored"]}
    assert not (secrets / "id_ed25519").exists()
    assert action.control(task, pretend=False) == {"changed": True, "msg": [f"{secrets}: restored"]}
    assert (secrets / "id_ed25519").read_text() == "login key"
    assert (secrets / "ssh_host_keys/pi-01/key").read_text() == "host key"
    assert (secrets / "ssh_host_keys/pi-01/key").stat().st_mode & 0o777 == 0o600
    assert (secrets / "ssh_host_keys/pi-01").stat().st_mode & 0o777 == 0o700
    assert (secrets / "of-later").exists()
    assert [path.name for path in secrets.parent.iterdir()] == ["secrets"]
    assert action.control(task, pretend=False) == {"changed": False, "msg": []}


def test_what_is_no_inventory_ends_the_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "FILES", 2)
    for name in "abc":
        (tmp_path / name).touch()
    with pytest.raises(seal.BackupError, match="more than 2 files"):
        archive.files_below(tmp_path)


def test_a_fault_on_the_way_to_the_disk_ends_the_backup(owner: Owner, tmp_path: Path) -> None:
    """What cannot be decrypted here is verified while it is written."""
    assert "cannot be read" in owner.write(tmp_path / archive.DATA, b"no tar at all" * 1000).faults[0]
    (tmp_path / archive.SERVER).symlink_to("/dev/full")
    with pytest.raises(seal.BackupError, match=r"encrypt: .*no space left"):
        owner.write(tmp_path / archive.SERVER, os.urandom(1 << 22))


def tar_of(*files: tuple[str, int], end: bool = True) -> bytes:
    """A tar as a board may begin it: names, and the sizes that it says they have; random content, as long as 1 MiB."""
    made = io.BytesIO()
    for name, size in files:
        info = tarfile.TarInfo(name)
        info.size = size
        content = os.urandom(min(size, 1 << 20))
        made.write(info.tobuf() + content + bytes(-len(content) % 512))
    return made.getvalue() + (bytes(1024) if end else b"")


@pytest.mark.parametrize(
    ("begins", "limit", "fault"),
    [
        (b"no tar at all" * 100_000, 0, "cannot be read to its end"),
        (tar_of(("data/notes.txt", 5)), 0, "has no SHA256SUMS.json at its end: it is incomplete"),
        (tar_of(("data/weights", 1 << 40), end=False), 0, "holds 'data/weights': more than 1,"),
        (tar_of(("data/weights", 3 << 30), end=False), 2 << 30, "holds 'data/weights': more than 2,"),
        (tar_of(("elsewhere/notes.txt", 5), end=False), 0, "holds 'elsewhere/notes.txt', which is not a part of a"),
    ],
)
def test_a_board_that_sends_without_end_fills_no_disk(
    begins: bytes, limit: int, fault: str, owner: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / archive.DATA
    with pytest.raises(AnsibleActionFail) as raised:
        receive_from(tmp_path, begins, target, owner, monkeypatch, limit)
    assert str(raised.value).startswith(f"data from pi-01: {fault}")
    assert target.stat().st_size < 8 << 20


def test_a_board_that_goes_on_after_the_end_fills_no_disk(
    export: Path, owner: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_board("send-data", "--export", str(export)).stdout
    with pytest.raises(AnsibleActionFail, match=r"^data from pi-01: goes on after its end$"):
        receive_from(tmp_path, whole, tmp_path / archive.DATA, owner, monkeypatch)


def test_a_part_of_a_backup_leaves_room_on_the_disk(
    owner: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _path: SimpleNamespace(free=transfer.RESERVE - 1))
    target = tmp_path / archive.DATA
    with pytest.raises(AnsibleActionFail, match=r"^data from pi-01: after 0 MB \S+ has less than 67 MB free: "):
        receive_from(tmp_path, tar_of(("data/weights", 1 << 20), end=False), target, owner, monkeypatch)
    assert target.stat().st_size < 1 << 20


def receive_from(
    folder: Path, begins: bytes, target: Path, owner: Owner, monkeypatch: pytest.MonkeyPatch, limit: int = 0
) -> archive.Contents:
    """What is received from a board that sends this, and then 64 MiB that cannot be compressed."""
    (folder / "begins").write_bytes(begins)
    endless = f"cat >/dev/null; cat '{folder}/begins'; exec head -c {64 << 20} /dev/urandom"
    monkeypatch.setattr(transfer, "ssh_command", lambda *_: ["sh", "-c", endless])
    part = {"title": "data", "ssh": {"host": "pi-01"}, "arguments": [], "bytes": 1000, "limit": limit}
    return transfer.receive(part, target, owner.recipient, 60, print)


def test_copies_at_a_second_directory_are_whole_and_few(backup: Path, owner: Owner, tmp_path: Path) -> None:
    there = tmp_path / "disk"
    with pytest.raises(seal.BackupError, match="is not a directory: mount its disk"):
        place.copy(backup, str(there), "home", 0, "", 60)
    for wrong in ("host", "-oProxyCommand=x:/a", "a b:/c", "pi@host:", "pi@host:/a;b"):
        with pytest.raises(seal.BackupError, match="is neither"):
            place.copy(backup, wrong, "home", 0, "", 60)
    there.mkdir()
    (there / "home/.part-20261121T050000Z").mkdir(parents=True)
    assert place.copy(backup, str(there), "home", 2, "", 60) == []
    for hour in (6, 7):
        later = shutil.copytree(backup, backup.with_name(f"20261122T0{hour}0000Z"))
        change(later, owner, created=later.name)
        gone = place.copy(later, str(there), "home", 2, "", 60)
    assert gone == [backup.name]
    assert sorted(path.name for path in (there / "home").iterdir()) == ["20261122T060000Z", "20261122T070000Z"]
    copied = there / "home/20261122T070000Z"
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == {
        path.name: path.read_bytes() for path in later.iterdir()
    }
    assert {path.stat().st_mode & 0o777 for path in copied.iterdir()} == {0o600}


def test_an_older_copy_is_removed_when_the_new_one_is_on_the_disk_with_its_name(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, prune = os.fsync, place.prune

    def noted(descriptor: int) -> None:
        events.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def pruned(*given: Any) -> list[str]:
        events.append("prune")
        return prune(*given)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(place, "prune", pruned)
    place.copy(backup, str(tmp_path), "home", 2, "", 60)
    assert events[-3:] == [f".part-{backup.name}", "home", "prune"]
    assert set(events[:-3]) == {path.name for path in backup.iterdir()}


def place_of(tmp_path: Path, script: str) -> str:
    """Options that have sftp start a program in the place of its server."""
    server = tmp_path / "server"
    server.write_text(f"#!/bin/sh\n{script}\n")
    server.chmod(0o755)
    return f"-D {server}"


def test_a_place_that_says_what_it_likes_moves_no_cursor_and_fills_no_memory(backup: Path, tmp_path: Path) -> None:
    says = place_of(tmp_path, r"head -c 64000000 /dev/zero >&2; printf '\033[2Jfull' >&2; exit 1")
    tracemalloc.start()
    try:
        with pytest.raises(seal.BackupError) as raised:
            place.copy(backup, f"pi@nas:{tmp_path}", "home", 0, says, 60)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert r"\x1b[2Jfull" in str(raised.value)
    assert str(raised.value).isprintable()


def test_nothing_waits_for_a_place_that_does_not_answer(backup: Path, tmp_path: Path) -> None:
    silent = place_of(tmp_path, f"echo $$ >{tmp_path}/pid; exec sleep 600")
    with pytest.raises(seal.BackupError, match=r"^nas: not done after 1 s \(cluster_backup_timeout\)$"):
        place.copy(backup, f"nas:{tmp_path}", "home", 0, silent, 1)
    state = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
    until = time.monotonic() + 10
    while state.exists() and ") Z " not in state.read_text() and time.monotonic() < until:
        time.sleep(0.05)
    assert not state.exists() or ") Z " in state.read_text()


def test_copies_over_sftp_are_whole_and_few(backup: Path, owner: Owner, tmp_path: Path) -> None:
    """sftp and its server as they are, without the ssh between them."""
    there, direct = tmp_path / "nas", "-D /usr/lib/openssh/sftp-server"
    with pytest.raises(seal.BackupError, match="not found; create the directory there"):
        place.copy(backup, f"pi@nas:{there}", "home", 0, direct, 60)
    # What an interrupted run left.
    (there / "home/.part-20261121T050000Z").mkdir(parents=True)
    (there / "home/.part-20261121T050000Z/manifest.json").touch()
    (there / "home/notes.txt").touch()
    assert place.copy(backup, f"pi@nas:{there}", "home", 2, direct, 60) == []
    for hour in (6, 7):
        later = shutil.copytree(backup, backup.with_name(f"20261122T0{hour}0000Z"))
        gone = place.copy(later, f"pi@nas:{there}", "home", 2, direct, 60)
    assert gone == [backup.name]
    names = sorted(path.name for path in (there / "home").iterdir())
    assert names == ["20261122T060000Z", "20261122T070000Z", "notes.txt"]
    copied = there / "home/20261122T070000Z"
    assert copied.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == {
        path.name: path.read_bytes() for path in later.iterdir()
    }
