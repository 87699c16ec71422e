"""Read the shared folder (the NFS export) as if an attacker had written it: every notebook may write there.

One place for it, whoever reads: Jobs use it as a module beside them, Ansible as
`plugins/module_utils/shared_data.py`, a link to this file. Standard library only. Nothing here follows a link, opens
anything but a regular file, or reads more than it was told to; what is wrong is raised as Refused, with the path, and
with text that is safe to print.
"""

from __future__ import annotations

import errno
import hashlib
import heapq
import json
import math
import os
import re
import resource
import signal
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import IO, Any

#: A run is named by when it began (UTC) and the start of its inputs' digest: 20261122T021530Z-1a2b3c4d.
RUN_NAME = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}", re.ASCII)
#: SHA-256 in hexadecimal.
DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
#: A file or folder that belongs to a run: no hidden ones, nothing that a shell or a terminal takes for something else.
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
#: A node of Kubernetes (RFC 1123 subdomain).
NODE_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)

KIB, MIB = 1 << 10, 1 << 20
#: What a program that reads the shared folder may take: seconds of a processor, and bytes of memory.
SECONDS, MEMORY = 10, 192 * MIB
#: Longest wait of a process, in all, for files that the NFS server has delegated to clients (seconds).
DELEGATION_S = 45.0
#: Longest file that is parsed as JSON (bytes); the timings of 1,700 boards fit.
JSON_BYTES = MIB
#: Most digits of a number in JSON: a longer one has no place in a float, and raises OverflowError where it is printed.
DIGITS = 300
#: Most runs that are looked into, the newest first.
RUNS = 5000
#: A run may be this much younger than the clock says (seconds): a false date would make it the newest for years.
AHEAD = 86400

# Seconds that this process has waited for delegated files.
_waited = 0.0


# Python imports a codec when it is first used; inside of as_owner there may be none that can be read.
"".encode("unicode_escape")


class Refused(Exception):
    """Something in the shared folder that is not used; the message names it and is safe to print."""


class OutOfTime(Exception):
    """The time of `limit_process` is over. No Refused: who goes on after a file that is refused must end here."""


def printable(text: object, limit: int = 500) -> str:
    """One line that a terminal shows as it is: control and direction characters as escapes, cut after `limit`.

    What notebooks write can neither move the cursor nor begin a line of its own in somebody's output.
    """
    whole = str(text)
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in whole[:limit])
    return shown if len(whole) <= limit else f"{shown}..."


def lines(text: object, most: int, limit: int = 200) -> list[str]:
    """The first `most` lines of a text, each as `printable` gives it."""
    return [printable(line, limit) for line in str(text)[: most * limit * 4].split("\n")[:most]]


# --- limits ---------------------------------------------------------------------------------------------------------


def limit_process(seconds: int, memory: int, task: str) -> None:
    """End this process's work by OutOfTime after `seconds` of a processor, by MemoryError beyond `memory` bytes.

    The kernel counts, so the limits hold for whatever is parsed, also where a parser has a fault. A board that is busy
    with something else may need six times as long by the clock. `task` says what takes so long.
    """

    def late(_signal: int, _frame: FrameType | None) -> None:
        raise OutOfTime(f"{task}: not done after {seconds} s; the shared folder holds more than is read in that time")

    for timer, alarm, least in (
        (signal.ITIMER_PROF, signal.SIGPROF, seconds),
        (signal.ITIMER_REAL, signal.SIGALRM, 6 * seconds),
    ):
        signal.signal(alarm, late)
        signal.setitimer(timer, least)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, hard))


@contextmanager
def as_owner(root: Path) -> Iterator[None]:
    """Give up root for the owner of `root` inside: what the owner may not read is not read.

    Nothing happens to a process that is not root. Raises Refused when `root` is root's, for then nobody squashes root.
    Only for a time: Ansible imports parts of a module from an archive of root's when the module ends.
    """
    if os.geteuid() != 0:
        yield
        return
    found = root.stat()
    if found.st_uid == 0:
        raise Refused(f"{root} belongs to root; the role nfs_server gives it to nfs_server_uid")
    group, groups = os.getegid(), os.getgroups()
    os.setgroups([])
    os.setegid(found.st_gid)
    os.seteuid(found.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


# --- files ----------------------------------------------------------------------------------------------------------


def _parts(name: str) -> list[str]:
    """The components of a relative name. Raises Refused for one that could lead elsewhere."""
    parts = name.split("/")
    if not name or "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise Refused(f"{printable(repr(name))} is not a relative path without '.' and '..'")
    return parts


def _reason(error: OSError) -> str:
    # O_NOFOLLOW answers ELOOP for a link to a file and ENOTDIR for a link to a folder.
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "leads over a link or a file, which is not followed"
    return f"cannot be read ({error.strerror})"


@contextmanager
def opened_folder(root: Path, name: str = "") -> Iterator[int]:
    """A descriptor of the folder `name` below `root`, reached without following a link.

    Raises Refused, FileNotFoundError.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(root, flags)
    try:
        for part in _parts(name) if name else []:
            below = os.open(part, flags, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Refused(f"{printable(root / name)}: {_reason(error)}") from None
    finally:
        os.close(descriptor)


def open_regular(name: str, folder: int) -> int:
    """A descriptor for reading of a file in a folder that was found to be regular. Raises OSError.

    It does not wait, for it may have become a FIFO since. So where an NFS client has the file delegated, because it
    wrote it a moment ago, the kernel answers EAGAIN and asks for it back. A client answers in milliseconds, a busy
    board in seconds; one without power loses its delegations after 90 s. However many files a client holds back, a
    process waits for DELEGATION_S in all.
    """
    global _waited  # like the limits of limit_process, it counts for the process
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    while True:
        try:
            return os.open(name, flags, dir_fd=folder)
        except BlockingIOError:
            if _waited >= DELEGATION_S:
                reason = "an NFS client has it delegated and does not return it; run the playbook again in two minutes"
                raise BlockingIOError(errno.EAGAIN, reason, printable(name)) from None
            time.sleep(0.05)
            _waited += 0.05


@contextmanager
def opened(root: Path, name: str, limit: int) -> Iterator[IO[bytes]]:
    """A regular file of at most `limit` bytes below `root`, for reading. Raises Refused, FileNotFoundError.

    It may still grow while it is read: read through `read` or `digest`, which stop at the limit.
    """
    *folders, last = _parts(name)
    path = printable(root / name)
    with opened_folder(root, "/".join(folders)) as folder:
        # Looked at before it is opened: opening a FIFO or a device can hang or act.
        if not stat.S_ISREG(before := os.stat(last, dir_fd=folder, follow_symlinks=False).st_mode):
            raise Refused(f"{path}: is a {'link, which is not followed' if stat.S_ISLNK(before) else 'special file'}")
        try:
            descriptor = open_regular(last, folder)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise Refused(f"{path}: {_reason(error)}") from None
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise Refused(f"{path}: is no regular file")
        if found.st_size > limit:
            raise Refused(f"{path}: has {found.st_size:,} bytes, more than the {limit:,} that are read")
        yield file


def chunks(root: Path, name: str, limit: int) -> Iterator[bytes]:
    """The content of a regular file, a MiB at a time, at most `limit` bytes. Raises Refused, FileNotFoundError."""
    left = limit
    with opened(root, name, limit) as file:
        while block := file.read(MIB):
            left -= len(block)
            if left < 0:
                raise Refused(f"{printable(root / name)}: grew beyond {limit:,} bytes while it was read")
            yield block


def read(root: Path, name: str, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes. Raises Refused, FileNotFoundError."""
    return b"".join(chunks(root, name, limit))


def digest(root: Path, name: str, limit: int) -> str:
    """SHA-256 of a regular file of at most `limit` bytes. Raises Refused, FileNotFoundError."""
    found = hashlib.sha256()
    for block in chunks(root, name, limit):
        found.update(block)
    return found.hexdigest()


def names(root: Path, folder: str, pattern: re.Pattern[str], most: int) -> list[str]:
    """The `most` last names, in order of the alphabet, of a folder's entries that match `pattern`; [] without a folder.

    Memory is bounded by `most`, however many entries there are; time by limit_process.
    """
    try:
        with opened_folder(root, folder) as descriptor, os.scandir(descriptor) as entries:
            return heapq.nlargest(most, (entry.name for entry in entries if pattern.fullmatch(entry.name)))
    except FileNotFoundError:
        return []


def files(root: Path, folder: str, most: int = 10_000, depth: int = 3) -> list[str]:
    """Names, relative to `folder`, of the regular files in it and in its folders, in order; others are left out.

    So are hidden ones, and those that FILE_NAME does not match. Raises Refused for more than `most` entries.
    """
    found: list[str] = []
    waiting, seen = [""], 0
    while waiting:
        below = waiting.pop()
        path = "/".join(part for part in (folder, below) if part)
        with opened_folder(root, path) as descriptor, os.scandir(descriptor) as entries:
            for entry in entries:
                seen += 1
                if seen > most:
                    raise Refused(f"{printable(root / folder)}: has more than {most:,} entries")
                if not FILE_NAME.fullmatch(entry.name):
                    continue
                name = f"{below}/{entry.name}" if below else entry.name
                if entry.is_file(follow_symlinks=False):
                    found.append(name)
                elif entry.is_dir(follow_symlinks=False) and name.count("/") < depth:
                    waiting.append(name)
    return sorted(found)


# --- JSON -----------------------------------------------------------------------------------------------------------


def parse_json(content: bytes | str, what: str) -> Any:
    """A JSON document. Raises Refused, also for one that is nested too deep, or has numbers that no float can hold."""

    def constant(name: str) -> Any:
        raise ValueError(f"{name} is no number of JSON")

    def integer(digits: str) -> int:
        if len(digits) > DIGITS:
            raise ValueError(f"a number has {len(digits):,} digits")
        return int(digits)

    def decimal(digits: str) -> float:
        if not math.isfinite(found := float(digits)):
            raise ValueError(f"{printable(digits, 40)} is too large a number")
        return found

    try:
        return json.loads(content, parse_constant=constant, parse_int=integer, parse_float=decimal)
    except RecursionError:
        raise Refused(f"{printable(what)}: is nested too deep") from None
    except ValueError as error:
        raise Refused(f"{printable(what)}: is not JSON ({printable(error, 120)})") from None


def read_json(root: Path, name: str, limit: int = JSON_BYTES) -> Any:
    """The JSON document in a file. Raises Refused, FileNotFoundError."""
    return parse_json(read(root, name, limit), str(root / name))


def text(value: Any, pattern: re.Pattern[str], what: str) -> str:
    """`value` when it is a text that matches `pattern` as a whole. Raises Refused; `what` names the value."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Refused(f"{printable(what)} is {printable(repr(value), 80)}, which does not match {pattern.pattern}")
    return value


def number(value: Any, what: str, most: float = 1e9) -> float:
    """`value` when it is a number from 0 to `most`. Raises Refused; `what` names the value."""
    # NaN is neither larger nor smaller than anything.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise Refused(f"{printable(what)} is {printable(repr(value), 80)}, not a number from 0 to {most:g}")
    return float(value)


# --- runs -----------------------------------------------------------------------------------------------------------

#: The archive of a run, in its folder, and its longest size (bytes).
ARCHIVE, ARCHIVE_BYTES = "results.tar.gz", 32 * MIB


def new_run(inputs: str, now: datetime | None = None) -> str:
    """Name of a new run, given the digest of its inputs."""
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    return f"{moment:%Y%m%dT%H%M%SZ}-{inputs[:8]}"


def run_name(value: Any, what: str = "the name of the run", now: Callable[[], float] = time.time) -> str:
    """`value` when it can be the name of a run. Raises Refused, also for one that begins more than a day from now."""
    name = text(value, RUN_NAME, what)
    try:
        # Not by strptime, which imports a module; see above.
        date = (int(name[start:end]) for start, end in ((0, 4), (4, 6), (6, 8), (9, 11), (11, 13), (13, 15)))
        began = datetime(*date, tzinfo=UTC).timestamp()  # type: ignore[misc,arg-type]
    except ValueError:
        raise Refused(f"{printable(what)} is {name}, which begins with no date") from None
    if began > now() + AHEAD:
        raise Refused(f"{printable(what)} is {name}, which is in the future")
    return name


def complete_run(shared: Path, run: str) -> dict[str, Any] | None:
    """What complete.json says of a run, each value checked; None for a run that is not complete.

    Keys: run, inputs_digest, archive_sha256, durations (notebook to seconds). The names of the run and of its archive
    are never taken from the file. Raises Refused.
    """
    folder = f"runs/{run_name(run, str(shared / 'runs' / run))}"
    try:
        found = read_json(shared, f"{folder}/complete.json", 64 * KIB)
        with opened(shared, f"{folder}/{ARCHIVE}", ARCHIVE_BYTES):
            pass
    except FileNotFoundError:
        return None
    what = f"{shared / folder}/complete.json"
    if not isinstance(found, dict):
        raise Refused(f"{printable(what)}: is not an object")
    durations = found.get("durations", {})
    if not isinstance(durations, dict) or len(durations) > RUNS:
        raise Refused(f"{printable(what)}: durations is not an object of at most {RUNS} notebooks")
    return {
        "run": run,
        "inputs_digest": text(found.get("inputs_digest"), DIGEST, f"{what}: inputs_digest"),
        "archive_sha256": text(found.get("archive_sha256"), DIGEST, f"{what}: archive_sha256"),
        "durations": {
            text(name, FILE_NAME, f"{what}: a name in durations"): number(seconds, f"{what}: duration of {name}")
            for name, seconds in durations.items()
        },
    }


def complete_runs(shared: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """All complete runs, newest first, as `complete_run` gives them, and why others were refused."""
    runs, refused = [], []
    for name in names(shared, "runs", RUN_NAME, RUNS):
        try:
            if found := complete_run(shared, name):
                runs.append(found)
        except Refused as error:
            refused.append(str(error))
    return runs, refused
