"""Backups of an export that notebooks made hostile: it is backed up, what cannot be is named, and all is bounded."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils import archives, files, shared_data, ssh
from ansible_collections.edge_ai.cluster.plugins.module_utils.backup import archive, generations, packing, transfer
from ansible_collections.edge_ai.cluster.plugins.modules import cluster_backup_state
from ansible_collections.edge_ai.cluster.plugins.modules.cluster_backup_state import state_of_export


@pytest.fixture
def export(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "export"
    (folder / "weights").mkdir(parents=True)
    (folder / "weights/model.h5").write_bytes(b"weights")
    yield folder
    # pytest cannot delete what has a long path.
    subprocess.run(["rm", "--recursive", "--force", str(folder)], check=True)


def packed(export: Path, limit: int = packing.ARCHIVE) -> archive.Contents:
    """What a backup of the export holds."""
    target = io.BytesIO()
    packer = packing.Packer(target, limit, shared=True)
    folder = archives.Target(export)
    packer.tree(folder.descriptor, "data")
    packer.close()
    folder.close()
    found = archive.contents(io.BytesIO(gzip.compress(target.getvalue(), 1)), "data")
    assert found.faults == []
    assert "data/weights/model.h5" in found.sums
    return found


def test_a_sparse_file_takes_no_room_and_is_left_out(export: Path) -> None:
    with (export / "a").open("wb") as file:
        file.truncate(8 << 40)
    (export / "holes").write_bytes(b"x")
    os.truncate(export / "holes", 1 << 20)
    assert state_of_export(export)["bytes"] < 1 << 20
    found = packed(export)
    assert found.left_out == ["data/a: 8,796,093,022,208 bytes, more than a backup may still hold"]
    assert "data/holes" in found.sums
    with (export / "a").open("r+b") as file:
        file.truncate(packing.BEYOND + (64 << 20))
    found = packed(export)
    assert found.left_out == ["data/a: 1,140,850,688 bytes, with holes or links"]
    assert found.size < 2 << 20


def test_names_of_one_file_take_room_once(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "BEYOND", 150_000)
    (export / "a").write_bytes(os.urandom(100_000))
    for name in "bcd":
        os.link(export / "a", export / name)
    assert state_of_export(export)["bytes"] < 150_000
    found = packed(export)
    assert [each for each in found.sums if each.startswith("data/w") is False] == ["data/a", "data/b"]
    assert found.left_out == [f"data/{name}: 100,000 bytes, with holes or links" for name in "cd"]


def nest(folder: Path, name: str, depth: int) -> int:
    """Folders in one another; the last one's descriptor."""
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=descriptor)
        below = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    return descriptor


@pytest.mark.parametrize(("name", "depth"), [("d" * 250, 20), ("d", 3000)])
def test_paths_that_are_too_long_end_neither_the_look_nor_the_backup(export: Path, name: str, depth: int) -> None:
    # One whose folder has a path that can still be named.
    near = nest(export, "n" * 250, 15)
    os.close(os.open("f" * 250, os.O_CREAT | os.O_WRONLY, dir_fd=near))
    os.close(near)
    deep = nest(export, name, depth)
    os.close(os.open("f" * 250, os.O_CREAT | os.O_WRONLY, dir_fd=deep))
    os.close(deep)
    assert state_of_export(export)["files"] >= 1
    found = packed(export)
    assert any(each.endswith("f" * 250) for each in found.sums)
    assert [each for each in found.left_out if "more than 64 folders" not in each] == []


@pytest.mark.parametrize("code", [errno.ELOOP, errno.ENXIO, errno.EIO, errno.EAGAIN])
def test_a_file_that_cannot_be_opened_does_not_end_the_backup(
    export: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = packing.open_regular

    def opened(name: str, folder: int) -> int:
        if name == "x":
            raise OSError(code, os.strerror(code), name)
        return plain(name, folder)

    monkeypatch.setattr(packing, "open_regular", opened)
    (export / "x").write_bytes(b"x")
    (said,) = packed(export).left_out
    assert said.startswith("data/x: ")
    with pytest.raises(OSError, match=os.strerror(code)):
        packing.Packer(io.BytesIO()).path(export / "x", "server/x")


def test_a_link_that_became_a_file_does_not_end_the_backup(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (export / "x").symlink_to("y")

    def read(*_: Any, **__: Any) -> str:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(packing.os, "readlink", read)
    assert packed(export).left_out == ["data/x: cannot be read (Invalid argument)"]


@pytest.mark.parametrize("whole", [64 << 20, 1000])
def test_a_file_that_always_changes_does_not_end_the_backup(
    export: Path, whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "WHOLE", whole)
    monkeypatch.setattr(packing.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(packing, "still", lambda before, after: before.st_size < 10)
    (export / "x").write_bytes(bytes(2000))
    found = packed(export)
    assert len(found.left_out) == 1
    assert ("data/x" in found.sums) == (whole == 1000)


def test_it_is_not_waited_for_thousands_of_files_that_change(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(packing.time, "sleep", waits.append)
    monkeypatch.setattr(packing, "still", lambda before, after: before.st_size != 2)
    for number in range(500):
        (export / f"x{number}").write_bytes(b"xx")
    found = packed(export)
    assert len(waits) < 2 * 500
    assert sum(waits[: packing.PATIENCE]) < 120
    assert len(found.left_out) == packing.NAMED + 1
    assert found.left_out[-1] == "and 400 more"


def test_a_long_file_that_becomes_shorter_is_filled_up(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "WHOLE", 1000)
    (export / "x").write_bytes(b"x" * 100_000)
    plain = packing.Digesting.read

    def read(self: Any, size: int = -1) -> bytes:
        os.truncate(export / "x", 10)
        return plain(self, size)

    monkeypatch.setattr(packing.Digesting, "read", read)
    found = packed(export)
    assert found.left_out == ["data/x: parts of it, because it changed while it was read"]
    assert found.size >= 100_000


def test_no_more_of_an_export_is_listed_than_a_backup_holds(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notebooks may make as many files as the disk has; their names would be in the memory of the NFS server."""
    monkeypatch.setattr(cluster_backup_state, "MOST", 20)
    before = state_of_export(export)
    (export / "many").mkdir()
    for number in range(30):
        (export / f"many/{number}").touch()
        (export / f".restore-{number}").touch()
    after = state_of_export(export)
    assert (after["files"], after["digest"]) == (before["files"], before["digest"])
    assert (before["empty"], after["empty"], after["resuming"]) == (False, False, [])


def test_a_token_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    with (tmp_path / "token").open("wb") as file:
        file.write(b"K10")
        file.truncate(1 << 40)
    assert len(files.text_of(tmp_path / "token")) < 1 << 21


def test_a_folder_with_too_many_files_is_left_out(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MOST", 20)
    (export / "many").mkdir()
    for number in range(30):
        (export / f"many/{number}").touch()
    assert packed(export).left_out == ["data/many: more than 20 files in all; remove what is not needed"]


def test_names_are_kept_up_to_a_limit(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "NAMES", 1000)
    (export / "z").mkdir()
    for number in range(10):
        (export / "z" / f"{number}{'x' * 200}").touch()
    found = packed(export)
    assert 0 < len(found.left_out) < 10
    assert "the names of all files" in found.left_out[0]


def head(kind: bytes, size: int, name: str = "x") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_head_that_announces_gigabytes_is_refused_before_they_are_read(kind: bytes) -> None:
    source = io.BytesIO(gzip.compress(head(kind, 10 << 30), 1) + gzip.compress(bytes(4 << 20), 1))
    with pytest.raises(shared_data.Refused, match="a member whose description has more than 1,048,576 bytes"):
        list(archives.members(source, archive.LIMITS, links=True))


def test_a_map_of_holes_without_end_is_refused() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("data/x")
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1"}
        info.size = 4 << 20
        tar.addfile(info, io.BytesIO(b"9999999999\n" + b"1\n" * (2 << 20)))
    with pytest.raises(shared_data.Refused, match="whose description has more than"):
        list(archives.members(io.BytesIO(gzip.compress(file.getvalue(), 1)), archive.LIMITS, links=True))


def test_names_of_an_archive_are_kept_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "NAMES", 50)
    tar = b"".join(head(tarfile.REGTYPE, 0, f"data/{number:020}") for number in range(5)) + bytes(1024)
    found = archive.contents(io.BytesIO(gzip.compress(tar)), "data")
    assert found.faults[0].startswith("holds names of more than")


def test_a_record_of_gigabytes_is_a_fault_before_it_is_read() -> None:
    tar = gzip.compress(head(tarfile.REGTYPE, 10 << 30, packing.SUMS))
    assert archive.contents(io.BytesIO(tar), "data").faults == [f"has a {packing.SUMS} of 10,737,418,240 bytes"]


def with_record(record: bytes) -> archive.Contents:
    """Of an archive that has no file, and ends with this record."""
    tar = head(tarfile.REGTYPE, len(record), packing.SUMS) + record + bytes(-len(record) % 512 + 1024)
    return archive.contents(io.BytesIO(gzip.compress(tar)), "data")


def test_of_what_a_board_says_was_left_out_the_beginning_is_kept() -> None:
    """It is a part of the manifest, of which 4 MiB are read."""
    found = with_record(json.dumps({"sha256": {}, "left_out": ["\N{BELL}" * 500] * 150}).encode())
    assert found.faults == []
    assert len(found.left_out) == packing.NAMED + 1
    assert len(json.dumps(found.left_out)) < generations.LONGEST // 4


@pytest.mark.parametrize(
    "record",
    [
        b"[" * 100_000,
        b'{"sha256": {"a": []}, "left_out": []}',
        b'{"sha256": {}, "left_out": {}}',
        b'{"sha256": {}, "left_out": ' + b"[" * 100_000,
        b'{"sha256": {}, "left_out": ["' + b"x" * packing.REST + b'"]}',
        b'{"sha256": {"a' + b"a" * 2 * packing.LONGEST + b'": "' + b"0" * 64 + b'"}, "left_out": []}',
    ],
)
def test_a_record_that_is_none_is_a_fault(record: bytes) -> None:
    assert with_record(record).faults == [f"has no {packing.SUMS} at its end: it is incomplete"]


SIZE = 8 << 20


@pytest.mark.parametrize(
    "record",
    [
        b"[" + b"[]," * (SIZE // 3) + b"[]]",
        b'{"sha256": {"' + b"a" * SIZE + b'": ""}}',
        b'{"sha256": {' + b'"a": {},' * (SIZE // 8) + b'"a": {}}}',
        b'{"sha256": {"a": "' + b"0" * 64 + b'"' + b" " * SIZE + b"}}",
        b'{"sha256": {}, "left_out": [' + b"[]," * (SIZE // 3) + b"[]]}",
        b'{"sha256": {'
        + b",".join(b'"%06d": "%064d"' % (each, 0) for each in range(SIZE // 80))
        + b'}, "left_out": []}',
    ],
    ids=["lists", "name", "no-digest", "blanks", "left-out", "other-files"],
)
def test_of_a_record_an_entry_is_in_memory(record: bytes) -> None:
    """One of 512 MiB would take gigabytes, of the control node and of the board that takes the data of another one."""
    source = io.BytesIO(record)
    tracemalloc.start()
    try:
        with contextlib.suppress(ValueError):
            assert packing.compare(archives.Content(source), {"a": "0" * 64}) == ("000000", [])
        assert tracemalloc.get_traced_memory()[1] < SIZE / 2
    finally:
        tracemalloc.stop()


ZERO, ONE = "0" * 64, "1" * 64


@pytest.mark.parametrize(
    ("recorded", "differs"),
    [
        ({"a": ZERO, "b": ZERO}, None),
        ({"a": ZERO, "b": ONE}, "b"),
        ({"a": ZERO}, "b"),
        ({"b": ZERO}, "a"),
        ({"a": ZERO, "b": ZERO, "c": ZERO}, "c"),
        ({"": ZERO, "b": ZERO}, ""),
        ({"b": ZERO, "a": ZERO}, "a"),
        ({}, "a"),
    ],
)
def test_a_record_has_each_file_in_its_place(recorded: dict[str, str], differs: str | None) -> None:
    content = io.BytesIO(json.dumps({"sha256": recorded, "left_out": ["x"]}, indent=1).encode())
    assert packing.compare(archives.Content(content), {"a": ZERO, "b": ZERO}) == (differs, ["x"])


def test_names_of_a_record_are_those_of_files_whatever_they_hold() -> None:
    names = ['"', "\\", "\n", "\udcff", "\U0001f600", "x" * 30_000]
    sums = dict.fromkeys(names, ZERO)
    content = json.dumps({"sha256": sums, "left_out": []}).encode()
    assert packing.compare(archives.Content(io.BytesIO(content)), sums) == (None, [])
    assert with_record(content).faults == ["'\"' differs from the file that was read"]


def test_nothing_follows_the_record() -> None:
    record = b'{"sha256": {}, "left_out": []}'
    member = head(tarfile.REGTYPE, len(record), packing.SUMS) + record + bytes(-len(record) % 512)
    found = archive.contents(io.BytesIO(gzip.compress(member + member + bytes(1024))), "data")
    assert found.faults == [f"goes on after {packing.SUMS}"]


@pytest.mark.parametrize(("name", "size"), [(packing.SUMS, 10 << 30), ("etcd-snapshot", 1)])
def test_a_board_takes_nothing_into_memory_but_the_record_of_data(tmp_path: Path, name: str, size: int) -> None:
    sources = transfer.program()
    argv = [sys.executable, "-I", "-c", transfer.LOADER, str(len(sources)), "take-data", "--stamp", "x", "--export"]
    content = gzip.compress(head(tarfile.REGTYPE, size, name) + bytes(2048))
    done = subprocess.run([*argv, str(tmp_path)], input=sources + content, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"is not a part of a backup" in done.stderr


def test_a_board_takes_a_snapshot_that_is_longer_than_its_memory(tmp_path: Path) -> None:
    size = 128 << 20
    content = bytes(size)
    sums = json.dumps({"sha256": {"etcd-snapshot": hashlib.sha256(content).hexdigest()}}).encode()
    tar = head(tarfile.REGTYPE, size, "etcd-snapshot") + content + head(tarfile.REGTYPE, len(sums), packing.SUMS)
    packed = gzip.compress(tar + sums + bytes(2048), 1)
    sources = transfer.program()
    argv = ["sh", "-c", 'ulimit -d 102400; exec "$@"', "sh", sys.executable, "-I", "-c", transfer.LOADER]
    argv += [str(len(sources)), "take-server", "--stamp", "x", "--data-dir", str(tmp_path / "k3s")]
    done = subprocess.run(argv, input=sources + packed, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "k3s/server/db/restored-snapshot").stat().st_size == size
    assert [path.name for path in (tmp_path / "k3s").iterdir()] == ["server"]


def test_what_a_board_says_can_move_no_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    script = r"yes y | head -c 100000 >&2; printf 'PLAY\033[2J\342\200\256y' >&2; exit 1"
    monkeypatch.setattr(ssh, "root_argv", lambda *_: ["sh", "-c", script])
    with transfer.running({"connection": "local", "user": "root"}, [], 60) as (process, messages):
        process.wait()
        said = messages()
    assert said.endswith(r"PLAY\x1b[2J\u202ey")
    assert len(said) < 2000
