"""Programs of the collection, each in a process of its own, forked from one that has imported what they need.

To import it takes longer than most of them run. This file is also the program that imports, and forks for each run.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple

ROOT = Path(__file__).parents[2]


class Done(NamedTuple):
    """A program that ended: its exit status, output, seconds of a processor, and most KiB of memory."""

    code: int
    out: str
    err: str
    seconds: float
    kibibytes: int


def run(name: str, arguments: Sequence[str], given: IO[bytes], late: Sequence[str] = ()) -> Done:
    """`python -m name arguments < given`, with `late` for packages that it imports when it needs them."""
    return _run(name, list(arguments), given, late)


def run_module(name: str, arguments: Mapping[str, Any]) -> Done:
    """A module of Ansible."""
    with TemporaryFile() as given:
        given.write(json.dumps(arguments).encode())
        given.seek(0)
        return _run(name, None, given)


def _run(name: str, arguments: list[str] | None, given: IO[bytes], late: Sequence[str] = ()) -> Done:
    asked = {"name": name, "arguments": arguments, "late": list(late), "environment": dict(os.environ)}
    with TemporaryFile() as out, TemporaryFile() as err:
        files = [each.fileno() for each in (given, out, err)]
        socket.send_fds(_server(), [json.dumps(asked).encode()], files)
        answer = _server().recv(1000)
        assert answer, f"{name} could not be imported"
        code, seconds, kibibytes = json.loads(answer)
        out.seek(0)
        err.seek(0)
        return Done(code, out.read().decode(), err.read().decode(), seconds, kibibytes)


@cache
def _server() -> socket.socket:
    """The other end of it. A small process: the kernel counts the memory of what forks as used by what is forked."""
    requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}/collections", "LC_ALL": "C.UTF-8"}
    with theirs:
        # Without this file's folder in the path, whose modules have names of the standard library's.
        process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(theirs.fileno())], env=environment, pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def end() -> None:
        requests.close()
        process.wait()

    atexit.register(end)
    return requests


def _serve(requests: socket.socket) -> None:
    from ansible.module_utils.testing import patch_module_args

    while True:
        text, files, _, _ = socket.recv_fds(requests, 1 << 18, 3)
        if not text:
            return
        asked = json.loads(text)
        for name in (asked["name"], *asked["late"]):
            importlib.import_module(name)
        # The memory of these stays shared with the runs.
        gc.freeze()
        if child := os.fork():
            for each in files:
                os.close(each)
            _, status, usage = os.wait4(child, 0)
            answer = [os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss]
            requests.send(json.dumps(answer).encode())
            continue
        requests.close()
        for number, each in enumerate(files):
            os.dup2(each, number)
            os.close(each)
        os.chdir("/")
        os.environ.clear()
        os.environ.update(asked["environment"])
        # It is run as a program, anew.
        del sys.modules[asked["name"]]
        sys.argv = [asked["name"], *(asked["arguments"] or ())]
        given = patch_module_args(json.load(sys.stdin)) if asked["arguments"] is None else contextlib.nullcontext()
        with given:
            runpy.run_module(asked["name"], run_name="__main__", alter_sys=True)
        sys.exit()


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
