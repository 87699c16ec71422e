"""What an attacker could put into the shared folder: each case beside one good run, in a folder of its own.

    python hostile.py EXPORT OUTSIDE INPUTS_DIGEST CASE...    # on a board, as the share's user

Standard library only: it runs in unit tests and on a board. A case is a function that is given the folder of a run that
is newer than the good one, and a folder outside of the export that must stay as it is.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

GOOD = "20261101T000000Z-1a2b3c4d"
DIGEST = "ab" * 32
Case = Callable[[Path, Path], None]
CASES: dict[str, Case] = {}
CHANGING: list[threading.Thread] = []
STOP = threading.Event()


def case(function: Case) -> Case:
    """Make a function one of the cases."""
    CASES[function.__name__] = function
    return function


def timings(host: str = "pi-02") -> list[dict[str, Any]]:
    """Records that keep the schema."""
    phases = {"import": 4.3, "data": 2.5, "build": 0.1, "fit": 17.3, "save": 0.05, "load": None, "predict": 0.8}
    return [
        {
            "notebook": "training",
            "profile": "thesis",
            "host": host,
            "started": "2026-11-22T02:15:30Z",
            "phases": phases,
            "total": 25.05,
            "thesis_clock": 17.4,
            "test_accuracy": 0.9712,
            "tensorflow": "2.21.0",
            "hardware": "User Mode Linux (virtual board), x86_64, 1 CPU",
            "inputs_digest": DIGEST,
            "weights_sha256": "cd" * 32,
        }
    ]


def tar(*members: tuple[str, bytes] | tarfile.TarInfo, mode: str = "w:gz") -> bytes:
    """An archive of files (name, content) and of members without content."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=mode, format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return target.getvalue()


def complete(folder: Path, content: bytes, **values: Any) -> None:
    """What a complete run has, `content` being its archive."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.tar.gz").write_bytes(content)
    found = {
        "run": folder.name,
        "inputs_digest": DIGEST,
        "finished": "2026-11-22T02:20:00Z",
        "durations": {"training-thesis": 30.0},
        "archive_sha256": hashlib.sha256(content).hexdigest(),
    }
    (folder / "complete.json").write_text(json.dumps(found | values))
    (folder / "timings.json").write_text(json.dumps(timings()))


def good(folder: Path, host: str = "pi-02") -> None:
    """A run as the notebooks make it."""
    page = b"<!DOCTYPE html><html><head><title>report</title></head><body>good</body></html>"
    complete(folder, tar(("timings.json", json.dumps(timings(host)).encode()), ("report.html", page)))


def record() -> tuple[str, bytes]:
    """The one member that every archive needs."""
    return "timings.json", json.dumps(timings()).encode()


# --- complete.json ----------------------------------------------------------------------------------------------------


@case
def absolute_run(run: Path, outside: Path) -> None:
    complete(run, tar(record()), run=str(outside / "home"), archive="results.tar.gz")


@case
def run_with_dots(run: Path, outside: Path) -> None:
    complete(run, tar(record()), run="../../../outside/home", archive="../../../outside/secret")


@case
def archive_named_shadow(run: Path, outside: Path) -> None:
    complete(run, tar(record()), archive="/etc/shadow")
    (run / "results.tar.gz").unlink()


@case
def complete_is_link_to_zero(run: Path, outside: Path) -> None:
    run.mkdir(parents=True)
    (run / "complete.json").symlink_to("/dev/zero")
    (run / "results.tar.gz").write_bytes(tar(record()))


@case
def complete_is_link_to_shadow(run: Path, outside: Path) -> None:
    run.mkdir(parents=True)
    (run / "complete.json").symlink_to("/etc/shadow")


@case
def complete_is_fifo(run: Path, outside: Path) -> None:
    run.mkdir(parents=True)
    os.mkfifo(run / "complete.json")
    (run / "results.tar.gz").write_bytes(tar(record()))


@case
def complete_is_folder(run: Path, outside: Path) -> None:
    (run / "complete.json").mkdir(parents=True)


@case
def complete_is_huge(run: Path, outside: Path) -> None:
    complete(run, tar(record()))
    with (run / "complete.json").open("r+b") as file:
        file.truncate(1 << 40)


@case
def complete_is_deep(run: Path, outside: Path) -> None:
    complete(run, tar(record()))
    (run / "complete.json").write_text("[" * 30_000 + "]" * 30_000)


@case
def complete_has_a_million_digits(run: Path, outside: Path) -> None:
    complete(run, tar(record()))
    (run / "complete.json").write_text('{"durations": {"a": ' + "9" * 60_000 + "}}")


@case
def complete_is_no_number(run: Path, outside: Path) -> None:
    complete(run, tar(record()), durations={"training": float("nan")})


@case
def complete_has_a_number_beyond_all_floats(run: Path, outside: Path) -> None:
    complete(run, tar(record()), durations={"training-thesis": 10**400})


@case
def complete_is_infinite(run: Path, outside: Path) -> None:
    complete(run, tar(record()))
    (run / "complete.json").write_text('{"durations": {"a": 1e400}}')


@case
def complete_says_everything_twice(run: Path, outside: Path) -> None:
    complete(run, tar(record()))
    text = (run / "complete.json").read_text()
    (run / "complete.json").write_text(text[:-1] + ', "archive_sha256": "../../outside/secret", "durations": []}')


@case
def durations_with_half_a_character(run: Path, outside: Path) -> None:
    complete(run, tar(record()), durations={"\ud800": 1.0}, archive_sha256="\udfff" * 64)


@case
def durations_with_long_names(run: Path, outside: Path) -> None:
    complete(run, tar(record()), durations={"a" * 60_000: 1.0})


@case
def complete_is_a_list(run: Path, outside: Path) -> None:
    complete(run, tar(record()))
    (run / "complete.json").write_text("[1, 2, 3]")


@case
def durations_with_escapes(run: Path, outside: Path) -> None:
    complete(run, tar(record()), durations={"\x1b[2J\x1b[1;1HPLAY RECAP\n": 1.0})


@case
def digest_with_escapes(run: Path, outside: Path) -> None:
    complete(run, tar(record()), archive_sha256="\x1b]0;title\x07" + "a" * 50)


@case
def complete_is_binary(run: Path, outside: Path) -> None:
    complete(run, tar(record()))
    (run / "complete.json").write_bytes(b"\xff\xfe\x00" * 100)


# --- folders and names ------------------------------------------------------------------------------------------------


@case
def run_is_link(run: Path, outside: Path) -> None:
    target = run.parent / "real"
    good(target)
    run.symlink_to("real")


@case
def run_is_link_outside(run: Path, outside: Path) -> None:
    run.parent.mkdir(parents=True, exist_ok=True)
    run.symlink_to(outside)


@case
def run_of_hard_links(run: Path, outside: Path) -> None:
    """All of it are further names of one file, as those of root's files in the export would be."""
    complete(run, tar(("time.txt", b"x")))
    for name in ("timings.json", "report.html"):
        (run / name).unlink(missing_ok=True)
        os.link(run / "results.tar.gz", run / name)


@case
def archive_full_of_holes(run: Path, outside: Path) -> None:
    complete(run, tar(record()))
    with (run / "results.tar.gz").open("r+b") as file:
        file.truncate(32 << 20)


@case
def a_hundred_thousand_entries(run: Path, outside: Path) -> None:
    """Older than the good run: only the newest are looked into."""
    run.parent.mkdir(parents=True, exist_ok=True)
    # Texts: to make as many paths takes longer than to make the entries.
    file, prefix = f"{run.parent}/file", f"{run.parent}/20261031T000000Z-"
    for number in range(100_000):
        if number % 30_000 == 0:  # a file system has a limit of names for one file
            Path(file).unlink(missing_ok=True)
            Path(file).touch()
        os.link(file, f"{prefix}{number:08x}")


@case
def run_is_fifo(run: Path, outside: Path) -> None:
    run.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(run)


@case
def names_with_newlines_and_escapes(run: Path, outside: Path) -> None:
    for name in ("\nPLAY RECAP *****\n", "\x1b[2J", "$(reboot)", "-rf", "20261122T021530Z-1a2b3c4d\n", "\udcff"):
        good(run.parent / name)


@case
def future_run(run: Path, outside: Path) -> None:
    good(run.parent / "99991231T235959Z-1a2b3c4d")


@case
def run_without_a_date(run: Path, outside: Path) -> None:
    good(run.parent / "20269999T999999Z-1a2b3c4d")


@case
def thousands_of_runs(run: Path, outside: Path) -> None:
    for number in range(3000):
        (run.parent / f"20261122T02{number // 60 % 60:02}{number % 60:02}Z-{number:08x}").mkdir(parents=True)


# --- timings ----------------------------------------------------------------------------------------------------------


@case
def timings_are_link(run: Path, outside: Path) -> None:
    complete(run, tar(("timings.json", b"{}")))
    (run / "timings.json").unlink()
    (run / "timings.json").symlink_to("/dev/zero")


@case
def timings_with_escapes(run: Path, outside: Path) -> None:
    bad = timings("pi-02\x1b[2J\nok: [pi-01]")
    complete(run, tar(("timings.json", json.dumps(bad).encode() + b"trailing")))
    (run / "timings.json").write_text(json.dumps(bad))


@case
def timings_with_numbers_beyond_all_floats(run: Path, outside: Path) -> None:
    complete(run, tar(("timings.json", json.dumps([timings()[0] | {"total": 10**400}]).encode())))


@case
def timings_with_seconds_of_a_century(run: Path, outside: Path) -> None:
    complete(run, tar(("timings.json", json.dumps([timings()[0] | {"total": 1e300}]).encode())))


@case
def timings_with_markup(run: Path, outside: Path) -> None:
    bad = timings()[0] | {"hardware": "<img src=x onerror=alert(1)>", "tensorflow": "2.21.0\n# [x](javascript:1)"}
    complete(run, tar(("timings.json", json.dumps([bad]).encode())))


@case
def timings_with_directions(run: Path, outside: Path) -> None:
    complete(run, tar(("timings.json", json.dumps(timings("pi-02\u202e\x9b2J")).encode())))


# --- the archive ------------------------------------------------------------------------------------------------------


@case
def archive_is_link(run: Path, outside: Path) -> None:
    complete(run, tar(record()))
    (run / "results.tar.gz").unlink()
    (run / "results.tar.gz").symlink_to("/dev/zero")


@case
def archive_is_fifo(run: Path, outside: Path) -> None:
    complete(run, tar(record()))
    (run / "results.tar.gz").unlink()
    os.mkfifo(run / "results.tar.gz")


@case
def archive_is_huge(run: Path, outside: Path) -> None:
    complete(run, tar(record()))
    with (run / "results.tar.gz").open("r+b") as file:
        file.truncate(1 << 40)


@case
def archive_of_another_digest(run: Path, outside: Path) -> None:
    complete(run, tar(record()), archive_sha256="0" * 64)


@case
def absolute_member(run: Path, outside: Path) -> None:
    complete(run, tar(record(), (str(outside / "escaped"), b"x")))


@case
def member_with_dots(run: Path, outside: Path) -> None:
    complete(run, tar(record(), ("thesis/../../../outside/escaped", b"x")))


@case
def link_then_file(run: Path, outside: Path) -> None:
    link = tarfile.TarInfo("thesis")
    link.type, link.linkname = tarfile.SYMTYPE, str(outside)
    complete(run, tar(record(), link, ("thesis/escaped", b"x")))


@case
def link_to_secret(run: Path, outside: Path) -> None:
    link = tarfile.TarInfo("time.txt")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
    complete(run, tar(record(), link))


@case
def hard_link_to_secret(run: Path, outside: Path) -> None:
    link = tarfile.TarInfo("time.txt")
    link.type, link.linkname = tarfile.LNKTYPE, str(outside / "secret")
    complete(run, tar(record(), link))


@case
def device_member(run: Path, outside: Path) -> None:
    device = tarfile.TarInfo("null")
    device.type, device.devmajor, device.devminor = tarfile.CHRTYPE, 1, 3
    complete(run, tar(record(), device))


@case
def fifo_member(run: Path, outside: Path) -> None:
    fifo = tarfile.TarInfo("pipe")
    fifo.type = tarfile.FIFOTYPE
    complete(run, tar(record(), fifo))


@case
def member_with_newline(run: Path, outside: Path) -> None:
    complete(run, tar(record(), ("a\nPLAY RECAP\x1b[2J", b"x")))


@case
def tar_bomb(run: Path, outside: Path) -> None:
    """10 GB of zeros, in 10 MB: written block by block, because it does not fit into memory."""
    target = io.BytesIO()
    info = tarfile.TarInfo("bomb.txt")
    info.size = 10 << 30
    with gzip.GzipFile(fileobj=target, mode="wb", compresslevel=9) as squeezed:
        squeezed.write(tar(record(), mode="w")[:-10240] + info.tobuf())
        squeezed.write(bytes(16 << 20))
    block = gzip.compress(bytes(16 << 20), 9)
    complete(run, target.getvalue() + block * 639)


@case
def head_of_ten_gigabytes(run: Path, outside: Path) -> None:
    """An extended head that says it is 10 GB long: some parsers read it whole."""
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 10 << 30
    block = gzip.compress(bytes(16 << 20), 9)
    complete(run, gzip.compress(info.tobuf()) + block * 640)


@case
def sparse_member(run: Path, outside: Path) -> None:
    info = tarfile.TarInfo("sparse.txt")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    head = bytearray(info.tobuf())
    head[386:398] = b"00000000000\0"
    head[483:495] = b"777777777777"
    head[148:156] = b"%06o\0 " % (sum(head[:148]) + sum(head[156:512]) + 8 * 32)
    complete(run, gzip.compress(bytes(head) + bytes(1024)))


@case
def a_million_members(run: Path, outside: Path) -> None:
    head = tarfile.TarInfo("a").tobuf()
    complete(run, gzip.compress(head * 10_000, 1) * 100 + gzip.compress(bytes(1024)))


@case
def endless_extended_heads(run: Path, outside: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type = tarfile.XHDTYPE
    complete(run, gzip.compress(info.tobuf() * 20_000 + bytes(1024), 1))


@case
def negative_size(run: Path, outside: Path) -> None:
    head = bytearray(tarfile.TarInfo("a.txt").tobuf())
    head[124:136] = b"\xff" * 11 + b"\x00"
    head[148:156] = b"%06o\0 " % (sum(head[:148]) + sum(head[156:512]) + 8 * 32)
    complete(run, gzip.compress(bytes(head) + bytes(1024)))


@case
def not_an_archive(run: Path, outside: Path) -> None:
    complete(run, os.urandom(4096))


@case
def truncated_archive(run: Path, outside: Path) -> None:
    complete(run, tar(record(), ("weights.txt", os.urandom(100_000)))[:50_000])


@case
def archive_without_timings(run: Path, outside: Path) -> None:
    complete(run, tar(("time.txt", b"Training: 1")))


@case
def deep_timings(run: Path, outside: Path) -> None:
    complete(run, tar(("timings.json", b"[" * 100_000)))


@case
def deep_folders(run: Path, outside: Path) -> None:
    complete(run, tar(record(), ("/".join(["a"] * 200) + "/x", b"x")))


@case
def page_that_is_no_page(run: Path, outside: Path) -> None:
    complete(run, tar(record(), ("plot.svg", b"<svg onload=alert(1)>")))


@case
def page_without_a_type(run: Path, outside: Path) -> None:
    complete(run, tar(record(), ("notes", b"\n <html><script>alert(1)</script>")))


@case
def page_of_an_unknown_type(run: Path, outside: Path) -> None:
    complete(run, tar(record(), ("plot.ipynb", b"\xef\xbb\xbf<!doctype html><script>alert(1)</script>")))


@case
def changed_while_read(run: Path, outside: Path) -> None:
    """For five seconds complete.json is a file, a link and nothing in turn."""
    complete(run, tar(("time.txt", b"x")))
    path, until = run / "complete.json", time.monotonic() + 5
    content = path.read_bytes()
    STOP.clear()

    def change() -> None:
        number = 0
        while time.monotonic() < until and not STOP.is_set():
            number += 1
            try:
                path.unlink(missing_ok=True)
                if number % 3 == 0:
                    path.symlink_to("/dev/zero")
                elif number % 3 == 1:
                    path.write_bytes(content)
            except OSError:
                return

    CHANGING.append(threading.Thread(target=change, daemon=True))
    CHANGING[-1].start()


def stop() -> None:
    """End what changes files meanwhile."""
    STOP.set()
    while CHANGING:
        CHANGING.pop().join()


def build(export: Path, outside: Path, names: list[str], minute: str = "20261122T0215") -> None:
    """The good run, and the named cases in runs of that minute, each newer than the one before."""
    good(export / "runs" / GOOD)
    for number, name in enumerate(names):
        CASES[name](export / "runs" / f"{minute}{number % 60:02}Z-{number:08x}", outside)


if __name__ == "__main__":
    DIGEST = sys.argv[3]
    build(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[4:], time.strftime("%Y%m%dT%H%M", time.gmtime()))
