"""Data between boards and the control node, each through an ssh process of its own: received, sent, or moved."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail

from .. import archives, shared_data
from ..files import sha256_of
from ..shared_data import printable
from ..ssh import running as run_as_root
from . import packing, stream
from .archive import LIMITS, Contents, writing
from .seal import BackupError, decrypting, read_key

#: The board's program, after the modules that it imports.
SOURCES = (shared_data, archives, packing, stream)
# Python on the board reads the modules from standard input, and leaves what follows them to the last one's main.
LOADER = """
import json, sys, types
for name, source in json.loads(sys.stdin.buffer.read(int(sys.argv.pop(1)))):
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
sys.exit(module.main())
"""
#: Seconds between two lines of progress.
TICK = 10.0
#: Bytes that stay free on the control node's disk.
RESERVE = 64 << 20
#: Exit status of the board's program for a file that changed each time, and how often that is tried.
TORN, TRIES = 3, 3

Show = Callable[[str], None]


class Meter:
    """Shows the progress of a transfer every few seconds."""

    def __init__(self, title: str, expected: int, show: Show) -> None:
        self.title, self.expected, self.show = title, expected, show
        self.begun = self.shown = time.monotonic()
        self.done = 0

    def add(self, count: int) -> None:
        """`count` more bytes."""
        self.done += count
        now = time.monotonic()
        if now - self.shown > TICK:
            self.shown = now
            of = f" of {self.expected / 1e6:.0f}" if self.expected else ""
            self.show(f"    {self.title}: {self.done / 1e6:.0f}{of} MB in {now - self.begun:.0f} s")


def program() -> bytes:
    """The board's program with the modules that it imports, as LOADER reads it."""
    return json.dumps([(module.__name__, Path(module.__file__ or "").read_text()) for module in SOURCES]).encode()


@contextmanager
def running(ssh: dict[str, Any], arguments: list[str], timeout: float) -> Iterator[tuple[Any, Callable[[], str]]]:
    """The program running on a board: its process, and a function that returns its messages. Killed when left."""
    sources = program()
    command = ["python3", "-c", LOADER, str(len(sources)), *arguments]
    with run_as_root(ssh, command, timeout, 1500, sources) as board:

        def messages() -> str:
            # A board may be anybody's by now, and say anything.
            text = "\n".join(map(printable, board.errors.text().split("\n")))
            if board.late.is_set():
                return f"not done after {timeout:.0f} s (cluster_backup_timeout). {text}"
            return text or f"ended with {board.process.returncode} without a message"

        yield board.process, messages


def receive(part: dict[str, Any], target: Path, recipient: str, timeout: float, show: Show) -> Contents:
    """One archive from a board into `target`, compressed and encrypted here. Raises AnsibleActionFail, BackupError.

    A board may be anybody's by now, and send anything without end: what is stored ends at the first fault, at the
    `limit` of its files (bytes; beyond what was announced without one), and where the disk would be full.
    """
    host = part["ssh"]["host"]
    # What was announced is what files took on the board's disk: they may have holes, and have grown since.
    size = part.get("limit") or part.get("bytes", 0) + packing.BEYOND
    limits = replace(LIMITS, size=min(LIMITS.size, size + packing.LISTING))
    for attempt in range(1, TRIES + 1):
        meter = Meter(part["title"], part.get("bytes", 0), show)
        with (
            running(part["ssh"], part["arguments"], timeout) as (process, messages),
            writing(target, recipient, limits) as archive,
        ):
            with suppress(BrokenPipeError):
                process.stdin.close()
            while chunk := process.stdout.read1(1 << 20):
                if shutil.disk_usage(target.parent).free < RESERVE:
                    raise AnsibleActionFail(
                        f"{part['title']} from {host}: after {meter.done / 1e6:.0f} MB {target.parent} has less than "
                        f"{RESERVE / 1e6:.0f} MB free: free space, or set cluster_backups_dir to another disk"
                    )
                try:
                    archive.write(chunk)
                except BackupError as error:
                    raise AnsibleActionFail(f"{part['title']} from {host}: {error}") from None
                meter.add(len(chunk))
            code = process.wait()
            reason = messages()
            found = archive.end()
        if code == 0:
            seconds = time.monotonic() - meter.begun
            stored = target.stat().st_size
            show(f"    {part['title']}: {meter.done / 1e6:.1f} MB in {seconds:.1f} s, {stored / 1e6:.1f} MB encrypted")
            return found
        if code != TORN or attempt == TRIES:
            raise AnsibleActionFail(f"{part['title']} from {host}: {reason}")
        show(f"    {part['title']}: {reason}; trying again")
    raise AssertionError("not reached")


def send(task: dict[str, Any], show: Show) -> dict[str, Any]:
    """One archive, decrypted on the way, to a board. Raises AnsibleActionFail."""
    part, path = task["part"], Path(task["directory"]) / task["part"]["name"]
    meter = Meter(part["title"], path.stat().st_size, show)
    if sha256_of(path) != part["sha256"]:
        raise AnsibleActionFail(f"{path} was changed since it was checked: use another copy of the backup")
    try:
        with (
            running(part["ssh"], part["arguments"], task["timeout"]) as (process, messages),
            decrypting(path, read_key(task["identity"])) as source,
        ):
            try:
                while chunk := source.read(1 << 20):
                    process.stdin.write(chunk)
                    meter.add(len(chunk))
                process.stdin.close()
            except BrokenPipeError:
                pass  # It ended early; its status shows whether that is an error.
            while process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(TICK)
                meter.add(0)
            reason = messages()
            if process.returncode:
                raise AnsibleActionFail(f"{part['title']} to {part['ssh']['host']}: {reason}")
    except BackupError as error:
        raise AnsibleActionFail(f"{path.parent}: {error}") from None
    seconds = time.monotonic() - meter.begun
    show(f"    {part['title']}: {meter.done / 1e6:.1f} MB sent and unpacked in {seconds:.1f} s")
    return {"changed": True, "seconds": round(seconds, 1), "bytes": meter.done}


def move(source: dict[str, Any], target: dict[str, Any], timeout: float, show: Show) -> dict[str, Any]:
    """The data of one export to another one, without a copy here. Raises AnsibleActionFail."""
    meter = Meter(f"{source['title']} to {target['title']}", source.get("bytes", 0), show)
    compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
    with (
        running(source["ssh"], source["arguments"], timeout) as (reader, read),
        running(target["ssh"], target["arguments"], timeout) as (writer, written),
    ):
        try:
            reader.stdin.close()
            while chunk := reader.stdout.read1(1 << 20):
                writer.stdin.write(compressor.compress(chunk))
                meter.add(len(chunk))
            # Without its end the archive is refused, and nothing of it is put in place.
            if reader.wait() == 0:
                writer.stdin.write(compressor.flush())
        except BrokenPipeError:
            pass  # One of the two ended early; its status shows why.
        with suppress(BrokenPipeError):
            writer.stdin.close()
        # The writer of an archive that has no end fails too; the reader still runs when the writer gave up.
        if reader.poll():
            raise AnsibleActionFail(f"{source['title']}: {read()}")
        if writer.wait():
            raise AnsibleActionFail(f"{target['title']}: {written()}")
        left_out = [line for line in read().splitlines() if line.startswith("left out ")]
    seconds = time.monotonic() - meter.begun
    show(f"    {meter.title}: {meter.done / 1e6:.1f} MB in {seconds:.1f} s")
    warnings = [f"{source['title']}: {line}" for line in left_out[:20]]
    return {"changed": True, "seconds": round(seconds, 1), "bytes": meter.done, "warnings": warnings}
