"""The board's own program: what it sends of real files, and what it restores."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import sqlite3
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.backup import archive, stream
from ansible_collections.edge_ai.cluster.plugins.modules.cluster_backup_state import freed, state_of_export

from tests.support.backups import STAMP, Owner, give, repack, root, run_board


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
