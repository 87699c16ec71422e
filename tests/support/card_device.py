"""A block device that behaves as a card in a reader does, also a bad one: a loop device on a file of FUSE.

`python -m tests.support.card_device FILE --size BYTES --real BYTES` serves FILE, and ends when it is unmounted.
The word in the file FILE.state is what it does: `pulled`, all requests fail, and the reader is empty after
`losetup --set-capacity`; `slow`, it takes its time.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.paths import ROOT

MAX_WRITE = 128 * 1024
GETATTR, SETATTR, OPEN, READ, WRITE, RELEASE, FSYNC, FLUSH, INIT = 3, 4, 14, 15, 16, 18, 20, 25, 26
NO_REPLY = {2, 36, 42}
FOPEN_DIRECT_IO = 1  # nothing is kept in the page cache, so that what is read is what was stored


class Card:
    """What a card stores: `size` bytes are reported, `real` bytes are there."""

    def __init__(self, store: int, size: int, real: int, beyond: str, state: Path) -> None:
        self.store, self.size, self.real, self.beyond, self.state = store, size, real, beyond, state

    @property
    def word(self) -> str:
        """What the test has asked for."""
        return self.state.read_text() if self.state.exists() else ""

    def check(self) -> None:
        """Be slow, or fail: also a request that is under way when the card is pulled out."""
        if self.word == "slow":
            time.sleep(0.05)
        if self.word == "pulled":
            raise OSError(errno.EIO, "pulled")

    def pieces(self, offset: int, length: int) -> Iterator[tuple[int | None, int]]:
        """(place in the store or None, bytes) for a request."""
        while length:
            if offset >= self.real and self.beyond == "lose":
                yield None, length
                return
            place = offset % self.real
            count = min(length, self.real - place)
            yield place, count
            offset, length = offset + count, length - count

    def read(self, offset: int, length: int) -> bytes:
        """Bytes at an offset; zeros where nothing is."""
        length = max(0, min(length, self.size - offset))
        parts = [
            bytes(count) if place is None else os.pread(self.store, count, place)
            for place, count in self.pieces(offset, length)
        ]
        return b"".join(parts)

    def write(self, offset: int, data: bytes) -> int:
        """Store bytes, or lose them."""
        done = 0
        for place, count in self.pieces(offset, len(data)):
            if place is not None:
                os.pwrite(self.store, data[done : done + count], place)
            done += count
        return done


def attributes(size: int) -> bytes:
    """The reply to GETATTR: a file of root, whose size the kernel is to ask for each time."""
    return struct.pack("<QII6Q10I", 0, 0, 0, 1, size, size // 512, 0, 0, 0, 0, 0, 0, 0o100600, 1, 0, 0, 0, 4096, 0)


def answer(card: Card, opcode: int, body: bytes) -> bytes:
    """The reply to one request. Raises OSError for one that fails."""
    if opcode == INIT:
        return struct.pack("<IIIIHHIIHHI7I", 7, 31, 0, 0, 8, 8, MAX_WRITE, 1, 32, 0, 0, *[0] * 7)
    if opcode in (GETATTR, SETATTR):
        return attributes(0 if card.word == "pulled" else card.size)
    if opcode == OPEN:
        return struct.pack("<QII", 1, FOPEN_DIRECT_IO, 0)
    if opcode in (READ, WRITE):
        card.check()
        _, offset, length = struct.unpack_from("<QQI", body)
        return card.read(offset, length) if opcode == READ else struct.pack("<II", card.write(offset, body[40:]), 0)
    if opcode in (FLUSH, FSYNC, RELEASE):
        return b""
    raise OSError(errno.ENOSYS, "not needed")


def serve(path: Path, card: Card) -> None:
    """Mount the card over a file and answer the kernel until it is unmounted."""
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=100000,user_id=0,group_id=0,max_read={MAX_WRITE}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"card", str(path).encode(), b"fuse", 0, options.encode()):
        raise OSError(ctypes.get_errno(), "mount of fuse")
    print("ready", flush=True)
    while True:
        try:
            request = os.read(device, MAX_WRITE + 4096)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return
            raise
        _, opcode, unique = struct.unpack_from("<IIQ", request)
        if opcode in NO_REPLY:
            continue
        try:
            reply, code = answer(card, opcode, request[40:]), 0
        except OSError as error:
            reply, code = b"", -(error.errno or errno.EIO)
        os.write(device, struct.pack("<IiQ", 16 + len(reply), code, unique) + reply)


@contextmanager
def loop(path: Path) -> Iterator[Path]:
    """A loop device on a file. Raises OSError where this machine or user has none."""
    made = subprocess.run(["losetup", "--find", "--show", str(path)], capture_output=True, text=True, check=False)
    if made.returncode:
        raise OSError(made.stderr.strip())
    try:
        yield Path(made.stdout.strip())
    finally:
        subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True)


@contextmanager
def card_device(directory: Path, size: int, real: int, beyond: str = "wrap") -> Iterator[Path]:
    """A loop device on a served card. Raises OSError where FUSE or loop devices are missing."""
    path = directory / "card"
    path.touch()
    command = [sys.executable, "-m", "tests.support.card_device", str(path)]
    command += ["--size", str(size), "--real", str(real), "--beyond", beyond]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stdout and server.stderr
        if server.stdout.readline() != "ready\n":
            raise OSError(server.stderr.read().strip().splitlines()[-1])
        try:
            with loop(path) as device:
                yield device
        finally:
            subprocess.run(["umount", "--lazy", str(path)], check=True)
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate()


def main() -> None:
    """Serve a card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--real", type=int, required=True)
    parser.add_argument("--beyond", choices=["wrap", "lose"], default="wrap")
    given = parser.parse_args()
    store = os.open(f"{given.file}.store", os.O_RDWR | os.O_CREAT, 0o600)
    os.ftruncate(store, given.real)
    serve(given.file, Card(store, given.size, given.real, given.beyond, Path(f"{given.file}.state")))


if __name__ == "__main__":
    main()
