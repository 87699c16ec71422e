"""Backups on the control node: made by the board's own program from real files, truncated, forged, mixed up."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.action import cluster_backup as action
from ansible_collections.edge_ai.cluster.plugins.module_utils.backup import archive, stream

CA = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
SECRET = "cluster-secret"
VERSION = "v1.36.4+k3s1"
root = pytest.mark.skipif(os.geteuid() != 0, reason="restores owners, which only root may")


def run_board(*arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """The program as a board runs it."""
    sources = action.program()
    command = [sys.executable, "-I", "-c", action.LOADER, str(len(sources)), *arguments]
    return subprocess.run(command, input=sources + data, capture_output=True, check=False)


@pytest.fixture
def k3s(tmp_path: Path) -> Path:
    """A k3s data directory with a database that is open, the newest rows in its journal alone."""
    data = tmp_path / "k3s"
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
def live(k3s: Path) -> Any:
    with contextlib.closing(sqlite3.connect(k3s / "server/db/state.db", check_same_thread=False)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA wal_autocheckpoint=0")
        database.execute("CREATE TABLE kine (id INTEGER PRIMARY KEY, a TEXT, b TEXT)")
        database.commit()
        yield database


def give(export: Path) -> None:
    """An export belongs to the user that clients are squashed to, all but what a restore has made."""
    if os.geteuid() == 0:
        for path in (export, *export.rglob("*")):
            if not path.name.startswith(".restore-"):
                os.chown(path, 10001, 10001, follow_symlinks=False)


@pytest.fixture
def export(tmp_path: Path) -> Path:
    export = tmp_path / "export"
    (export / "weights/fast").mkdir(parents=True)
    (export / "weights/fast/model.weights.h5").write_bytes(os.urandom(300_000))
    (export / "lost+found").mkdir()
    (export / ".restore-part").mkdir(mode=0o700)
    (export / ".nfs000012").write_text("open elsewhere")
    (export / "notes.txt").write_text("notes")
    give(export)
    return export


@pytest.fixture
def backup(tmp_path: Path, k3s: Path, live: Any, export: Path) -> Path:
    """A finished backup, made as the role makes it but for ssh."""
    live.execute("INSERT INTO kine (a, b) VALUES ('x', 'x')")
    live.commit()
    directory = tmp_path / "backups" / "20261122T050000Z"
    directory.mkdir(parents=True)
    commands = {
        archive.SERVER: ("send-server", "--data-dir", str(k3s), "--datastore", "sqlite"),
        archive.DATA: ("send-data", "--export", str(export)),
    }
    files = {}
    for name, arguments in commands.items():
        done = run_board(*arguments)
        assert done.returncode == 0, done.stderr
        (directory / name).write_bytes(gzip.compress(done.stdout, 1))
        found = archive.contents(directory / name)
        assert found.faults == []
        files[name] = {"size": (directory / name).stat().st_size, "sha256": archive.sha256_of(directory / name)}
    manifest = {
        "format": archive.FORMAT,
        "cluster_name": "home",
        "created": directory.name,
        "k3s_version": VERSION,
        "datastore": "sqlite",
        "server": "pi-01",
        "ca_sha256": archive.ca_sha256(archive.contents(directory / archive.SERVER)),
        "files": files,
    }
    (directory / archive.MANIFEST).write_text(json.dumps(manifest))
    return directory


def faults(backup: Path, name: str = "home", version: str = VERSION, servers: int = 1) -> list[str]:
    return list(archive.faults(backup, name, version, servers))


def change(backup: Path, **values: Any) -> None:
    path = backup / archive.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def repack(backup: Path, name: str, edit: Callable[[tarfile.TarFile], None]) -> None:
    """The archive with something put before its end, and a manifest that agrees: what a forger would do."""
    with tarfile.open(backup / name) as old:
        members = [(info, old.extractfile(info).read() if info.isfile() else None) for info in old]  # type: ignore[union-attr]
    with tarfile.open(backup / name, "w:gz") as new:
        edit(new)
        for info, content in members:
            new.addfile(info, io.BytesIO(content) if content is not None else None)
    manifest = json.loads((backup / archive.MANIFEST).read_text())
    manifest["files"][name] |= {"size": (backup / name).stat().st_size, "sha256": archive.sha256_of(backup / name)}
    change(backup, files=manifest["files"])


def test_a_backup_is_whole_and_has_the_rows_that_were_only_in_the_journal(backup: Path, tmp_path: Path) -> None:
    assert faults(backup) == []
    assert faults(backup, version="v1.36.5+k3s1") == faults(backup, version="v1.37.0+k3s1") == []
    with tarfile.open(backup / archive.SERVER) as tar:
        names = tar.getnames()
        member = tar.extractfile("server/db/state.db")
        assert member
        (tmp_path / "state.db").write_bytes(member.read())
    assert not [name for name in names if name.endswith(("-wal", "-shm"))]
    assert names[-1] == archive.SUMS
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as copy:
        assert copy.execute("SELECT count(*) FROM kine").fetchone() == (1,)


def test_what_is_no_data_stays_out(backup: Path) -> None:
    assert set(archive.contents(backup / archive.DATA).sums) == {"data/notes.txt", "data/weights/fast/model.weights.h5"}


def test_an_empty_export_is_data_too(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    give(tmp_path / "export")
    done = run_board("send-data", "--export", str(tmp_path / "export"))
    (tmp_path / archive.DATA).write_bytes(gzip.compress(done.stdout))
    assert archive.contents(tmp_path / archive.DATA) == archive.Contents()


@pytest.mark.parametrize("name", [archive.SERVER, archive.DATA])
def test_a_truncated_archive_is_refused(backup: Path, name: str) -> None:
    path = backup / name
    path.write_bytes(path.read_bytes()[:-100])
    assert [f"{name} has {path.stat().st_size} bytes" in fault for fault in faults(backup)] == [True]
    # Even with a manifest that was changed to match.
    manifest = json.loads((backup / archive.MANIFEST).read_text())
    manifest["files"][name] = {"size": path.stat().st_size, "sha256": archive.sha256_of(path)}
    change(backup, files=manifest["files"])
    assert f"{name} cannot be read to its end" in faults(backup)[0]


def test_an_archive_that_was_cut_where_tar_sees_no_end_is_refused(backup: Path) -> None:
    """A stream that broke off between two members, compressed to a whole gzip file."""
    path = backup / archive.DATA
    with tarfile.open(path) as tar:
        last = tar.getmember(archive.SUMS).offset
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:last] + b"\0" * 1024))
    assert "has no SHA256SUMS.json at its end" in "; ".join(archive.contents(path).faults)


@pytest.mark.parametrize("offset", [0.2, 0.5, 0.9])
def test_a_flipped_byte_is_refused(backup: Path, offset: float) -> None:
    path = backup / archive.DATA
    content = bytearray(path.read_bytes())
    content[int(len(content) * offset)] ^= 1
    path.write_bytes(content)
    assert faults(backup) == [f"{archive.DATA} was changed or damaged: its SHA-256 is not the one in manifest.json"]


def test_a_changed_file_with_a_matching_manifest_is_refused(backup: Path) -> None:
    def forge(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo("data/added.txt")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"added"))

    repack(backup, archive.DATA, forge)
    assert faults(backup) == [f"{archive.DATA} 'data/added.txt' differs from the board's file"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "data/../../x"])
def test_names_that_lead_elsewhere_are_refused_here_and_on_the_board(backup: Path, tmp_path: Path, name: str) -> None:
    def forge(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))

    repack(backup, archive.DATA, forge)
    assert any("leads elsewhere" in fault for fault in faults(backup))
    target = tmp_path / "target"
    target.mkdir()
    sent = run_board("take-data", "--export", str(target), "--stamp", "s", data=(backup / archive.DATA).read_bytes())
    assert sent.returncode == 1
    assert b"leads elsewhere" in sent.stderr
    assert [each.name for each in target.iterdir()] == [".restore-part"]


def test_files_are_not_written_through_links(backup: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "target").mkdir()

    def forge(tar: tarfile.TarFile) -> None:
        link = tarfile.TarInfo("data/link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "outside")
        tar.addfile(link)
        info = tarfile.TarInfo("data/link/file")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))

    repack(backup, archive.DATA, forge)
    content = (backup / archive.DATA).read_bytes()
    sent = run_board("take-data", "--export", str(tmp_path / "target"), "--stamp", "s", data=content)
    assert b"leads over a link" in sent.stderr
    assert list((tmp_path / "outside").iterdir()) == []


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
        ({"format": 1}, "has not format 2"),
        ({"server": None}, "lacks server"),
        ({"files": {}}, "no entry for server.tar.gz"),
        ({"files": {"server.tar.gz": {}, "../x": {}}}, "not supported"),
    ],
)
def test_foreign_and_newer_backups_are_refused(backup: Path, values: dict[str, Any], words: str) -> None:
    change(backup, **values)
    assert any(word in "; ".join(faults(backup)) for word in words.split("|"))


def test_all_reasons_are_listed_at_once(backup: Path) -> None:
    change(backup, cluster_name="other", k3s_version="v1.37.0+k3s1")
    (backup / archive.SERVER).unlink()
    (backup / archive.DATA).write_bytes(b"x")
    assert len(faults(backup)) == 4


def test_unfinished_backups_are_none(backup: Path) -> None:
    there = backup.parent
    shutil.copytree(backup, there / ".part-20261122T060000Z")
    (there / "20261122T070000Z").mkdir()
    assert archive.stamps(there) == [backup]
    assert archive.choose("latest", there) == archive.choose(backup.name, there) == backup
    with pytest.raises(archive.BackupError, match=r"restore_from is missing.*20261122T050000Z"):
        archive.choose("", there)
    with pytest.raises(archive.BackupError, match="holds no backup"):
        archive.choose("latest", there / "none")
    assert "not finished" in faults(there / "20261122T070000Z")[0]


def test_only_the_oldest_of_this_cluster_go_and_none_by_default(backup: Path) -> None:
    there = backup.parent
    for hour in (6, 7, 8):
        shutil.copytree(backup, there / f"20261122T0{hour}0000Z")
    change(there / "20261122T060000Z", cluster_name="other")
    assert action.prune(there, 0, "home") == []
    assert action.prune(there, 2, "home") == [backup.name]
    assert sorted(each.name for each in there.iterdir()) == [f"20261122T0{hour}0000Z" for hour in (6, 7, 8)]


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
    monkeypatch.setattr(stream, "WHOLE", whole)
    monkeypatch.setattr(stream.time, "sleep", lambda seconds: None)
    ticks = iter(range(10_000))
    plain = os.fstat

    def fstat(descriptor: int) -> Any:
        found = list(plain(descriptor))
        return type(
            "S", (), {"st_mode": found[0], "st_uid": 0, "st_gid": 0, "st_size": found[6], "st_mtime_ns": next(ticks)}
        )()

    monkeypatch.setattr(stream.os, "fstat", fstat)
    packer = stream.Packer(io.BytesIO())
    with pytest.raises(stream.Torn, match="data/x"):
        packer.path(export / "weights/fast/model.weights.h5", "data/x")


@root
def test_a_server_is_restored_with_times_modes_links_and_its_node_password(
    backup: Path, k3s: Path, tmp_path: Path
) -> None:
    target = tmp_path / "rancher/fresh"
    content = (backup / archive.SERVER).read_bytes()
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
def test_data_is_restored_to_an_empty_export_only_and_an_interrupted_restore_is_continued(
    backup: Path, export: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    content = (backup / archive.DATA).read_bytes()
    take = ("take-data", "--export", str(target), "--stamp", "20261122T050000Z")
    assert run_board(*take, data=content[: len(content) // 2]).returncode == 1
    done = run_board(*take, data=content)
    assert done.returncode == 0, done.stderr
    assert (target / "weights/fast/model.weights.h5").read_bytes() == (
        export / "weights/fast/model.weights.h5"
    ).read_bytes()
    assert sorted(each.name for each in target.iterdir()) == ["notes.txt", "weights"]
    assert b"is not empty" in run_board(*take, data=content).stderr
    (target / "notes.txt").write_text("mine")
    assert run_board(*take, "--replace", data=content).returncode == 0
    assert (target / ".before-restore-20261122T050000Z/notes.txt").read_text() == "mine"
    # Killed between two of the renames.
    (target / ".restore-20261122T050000Z").mkdir(mode=0o700)
    (target / "notes.txt").rename(target / ".restore-20261122T050000Z/notes.txt")
    assert run_board(*take, data=b"").returncode == 0
    assert (target / "notes.txt").read_text() == "notes"
    assert not (target / ".restore-20261122T050000Z").exists()


def test_the_token_of_another_cluster_is_kept_beside(backup: Path, tmp_path: Path) -> None:
    there = tmp_path / "secrets/k3s-token"
    agents = there.with_name("k3s-agent-token")
    task = {"directory": str(backup), "expect": {"token_file": str(there), "agent_token_file": str(agents)}}
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
    return action.move(
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
