"""What is in an image's layers, without running it: the machine that its programs are for, and its C library."""

import re
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .inputs import ImageError

#: Machine of an ELF file's header by the architecture's name.
MACHINES = {"amd64": 62, "arm64": 183}

#: Oldest GNU C library that the locks' packages run with: the newest of the platform tags in build.py.
GLIBC = (2, 28)

_LIBRARY = re.compile(r"(?:^|/)libc\.so\.6$")
_VERSION = re.compile(rb"GNU C Library \D*[^\n]*?version (\d+)\.(\d+)")


class Layers:
    """What was found in the layers that were read so far."""

    def __init__(self) -> None:
        self.unpacked_size = 0
        self.programs: dict[int, str] = {}
        """Machine of ELF files to the first of them."""
        self.glibc: tuple[int, int] | None = None

    def read(self, path: Path, media_type: str) -> None:
        """Read one layer, a tar that may be compressed with gzip or zstd.

        Raises:
            ImageError: it cannot be decompressed.
        """
        with _decompressed(path, media_type) as stream:
            counted = _Counted(stream)
            with tarfile.open(fileobj=counted, mode="r|") as tar:  # type: ignore[call-overload]
                for member in tar:
                    if member.isfile():
                        self._file(member.name, tar.extractfile(member))
            while counted.read(1 << 20):
                pass
        self.unpacked_size += counted.count

    def _file(self, name: str, file: IO[bytes] | None) -> None:
        head = file.read(20) if file else b""
        if file is None or not head.startswith(b"\x7fELF"):
            return
        self.programs.setdefault(int.from_bytes(head[18:20], "little"), f"/{name.removeprefix('./')}")
        if _LIBRARY.search(name) and (version := _VERSION.search(file.read())):
            self.glibc = (int(version[1]), int(version[2]))

    def check(self, arch: str, config: dict[str, Any]) -> None:
        """Check that the image runs on boards of `arch`; `config` is its configuration.

        Raises:
            ImageError: it is for another machine, or its C library is too old or another one than GNU's.
        """
        remedy = (
            "give container_image_base an image for it, by the digest of an index that has every architecture "
            "(docker/README.md: how to look it up)"
        )
        found = f"{config.get('os')}/{config.get('architecture')}"
        if found != f"linux/{arch}":
            raise ImageError(f"an image for linux/{arch} was to be built, but it is for {found}: {remedy}")
        for machine, name in self.programs.items():
            if machine != MACHINES[arch]:
                kind = next((each for each, number in MACHINES.items() if number == machine), f"ELF machine {machine}")
                raise ImageError(f"the image for linux/{arch} has a program for {kind}, {name}: {remedy}")
        wanted = "{}.{}".format(*GLIBC)
        if self.glibc is None:
            raise ImageError(
                f"the image has no GNU C library (libc.so.6), and TensorFlow's packages need {wanted} or newer: "
                "give container_image_base an image of Debian or Ubuntu"
            )
        if self.glibc < GLIBC:
            raise ImageError(
                f"the image's C library is {'{}.{}'.format(*self.glibc)}, and TensorFlow's packages need {wanted} or "
                "newer: give container_image_base a newer release"
            )


class _Counted:
    """A stream that knows how many bytes were read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.count += len(data)
        return data


@contextmanager
def _decompressed(path: Path, media_type: str) -> Iterator[IO[bytes]]:
    program = next((name for name in ("zstd", "gzip") if media_type.endswith(name)), "")
    if not program:
        with path.open("rb") as file:
            yield file
        return
    try:
        process = subprocess.Popen([program, "-dcq", str(path)], stdout=subprocess.PIPE)
    except FileNotFoundError:
        raise ImageError(f"{program}: not installed on the control node: apt-get install {program}") from None
    with process:
        assert process.stdout
        yield process.stdout
    if process.returncode:
        raise ImageError(f"{path}: {program} could not decompress this layer, exit code {process.returncode}")
