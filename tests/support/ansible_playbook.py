"""ansible-playbook, imported once for many runs: what it imports takes half of the time of a short run.

This file is also the program that imports it, and forks for each run. Of a run nothing is left for the next one.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import gc
import json
import os
import pty
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp

ROOT = Path(__file__).parents[2]
#: Variables that Ansible does not read when it is imported, and that differ between tests.
_LATE = ("PYTEST_CURRENT_TEST", "TMPDIR")
#: What the user of this project sees, instead of Ansible's own output; durations are kept here, as those of a user.
OWN_OUTPUT = {"ANSIBLE_STDOUT_CALLBACK": "edge_ai.cluster.stages"}
#: How many environments have a server that waits for the next run.
_KEPT = 3


class Run:
    """A run that began: a process of its own, though not a child of this one."""

    def __init__(self, answers: socket.socket) -> None:
        self._answers = answers
        self.pid = int(answers.recv(32) or 0)
        assert self.pid, "ansible-playbook could not be imported"
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status once there is one."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit status; it is negative after a signal."""
        status = self._ended(timeout)
        assert status is not None, f"ansible-playbook, process {self.pid}, did not end in {timeout} s"
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._answers], [], [], timeout)[0]:
            self.returncode = int(self._answers.recv(32))
            self._answers.close()
        return self.returncode


class _Server:
    """A process for runs with one environment, on terminals of one width or without one."""

    def __init__(self, environment: dict[str, str], columns: int | None) -> None:
        self.known = (environment, columns)
        self._last: Run | None = None
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Ansible has colours, and a width, of what standard output is when it is imported.
        terminal = open_terminal(columns) if columns else ()
        own = terminal[1] if terminal else subprocess.DEVNULL
        with theirs:
            # Without this file's folder in the path, whose modules have names of the standard library's.
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno())], env=environment, pass_fds=[theirs.fileno()],
                stdin=own, stdout=own,
            )  # fmt: skip
        for each in terminal[1:]:
            os.close(each)
        self._terminal = terminal[:1]
        atexit.register(self.end)

    def start(self, arguments: list[str], cwd: str, late: dict[str, str], stdio: Sequence[int]) -> Run:
        self._free()
        ours, answers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        asked = {"arguments": arguments, "cwd": cwd, "late": late}
        with answers:
            socket.send_fds(self._requests, [json.dumps(asked).encode()], [answers.fileno(), *stdio])
        self._last = Run(ours)
        return self._last

    def _free(self) -> None:
        """End a run that a failed test left: it may wait without end."""
        if self._last and self._last.poll() is None:
            self._last.send_signal(signal.SIGKILL)
            self._last.wait()

    def end(self) -> None:
        atexit.unregister(self.end)
        self._free()
        self._requests.close()
        self._process.wait()
        for each in self._terminal:
            os.close(each)


#: The one used last is the last.
_servers: list[_Server] = []


@cache
def _home() -> str:
    """A home for all runs of this process, instead of that of whoever runs the tests."""
    folder = mkdtemp(prefix="home-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def environment(**more: str) -> dict[str, str]:
    """An environment for runs: the configuration is that of this project, the output is Ansible's own.

    Tests that change nothing here have one server, whichever file they are in.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE")}
    return own | {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "default", "COLUMNS": "1000",
        "HOME": _home(), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **more,
    }  # fmt: skip


def open_terminal(columns: int) -> tuple[int, int]:
    """Both ends of a pseudo terminal; the second one is the program's."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    return ours, theirs


def start(
    arguments: Sequence[str | Path], cwd: Path, env: Mapping[str, str], stdio: Sequence[int], columns: int | None = None
) -> Run:
    """Begin a run with these three files; an earlier one of the same environment that still runs is killed.

    With columns, standard input is a terminal of this width, and the run has a session of its own with it.
    """
    env = dict(env)
    late = {name: env.pop(name) for name in _LATE if name in env}
    # Else the folder would decide, in which Ansible was imported.
    assert "ANSIBLE_CONFIG" in env
    server = next((each for each in _servers if each.known == (env, columns)), None)
    if server:
        _servers.remove(server)
    else:
        while len(_servers) >= _KEPT:
            _servers.pop(0).end()
        server = _Server(env, columns)
    _servers.append(server)
    return server.start([str(each) for each in arguments], str(cwd), late, stdio)


def run(
    arguments: Sequence[str | Path], cwd: Path, env: Mapping[str, str] | None = None, seconds: float = 600
) -> subprocess.CompletedProcess[str]:
    """What ansible-playbook prints with these arguments, without a terminal; nothing is to be read from stdin.

    Runs with the same environment, by default that of `environment()`, are cheap.
    """
    env = environment() if env is None else env
    with Path(os.devnull).open() as nothing, TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
        code = start(arguments, cwd, env, [nothing.fileno(), output.fileno(), errors.fileno()]).wait(seconds)
        output.seek(0)
        errors.seek(0)
        command = ["ansible-playbook", *map(str, arguments)]
        return subprocess.CompletedProcess(command, code, output.read(), errors.read())


def _adopt_orphans() -> None:
    """Have what a run leaves become children of this process: Ansible's workers have sessions of their own."""
    subreaper = 36
    assert ctypes.CDLL(None).prctl(subreaper, 1, 0, 0, 0) == 0


def _end_descendants() -> None:
    """Kill what a run has left; what that leaves is adopted in turn."""
    with contextlib.suppress(ChildProcessError):
        while True:
            for each in Path("/proc/thread-self/children").read_text().split():
                os.kill(int(each), signal.SIGKILL)
            os.wait()


def _serve(requests: socket.socket) -> None:
    """Do the runs that are asked for, one after another; answer with the process of each, then with its exit status."""
    from ansible import constants
    from ansible.cli.playbook import main
    from ansible.plugins import loader

    # Where collections are depends on the environment alone. A run looks again, and warns that they are known.
    loader.init_plugin_loader()
    warnings.filterwarnings("ignore", "AnsibleCollectionFinder has already been configured")
    # Every run loads these, and reads their documentation for their options, which takes longer than to import them.
    for kind in (
        loader.callback_loader, loader.inventory_loader, loader.connection_loader, loader.shell_loader,
        loader.become_loader, loader.action_loader, loader.filter_loader, loader.test_loader,
    ):  # fmt: skip
        list(kind.all(class_only=True))
    loader.strategy_loader.get("linear", class_only=True)
    # Each process of a run loads all filters of a collection to find one, and this one in none of the files.
    with contextlib.suppress(KeyError):
        loader.filter_loader.get("edge_ai.cluster.none")
    _adopt_orphans()
    # The memory of these stays shared with the runs.
    gc.freeze()
    while True:
        text, files, _, _ = socket.recv_fds(requests, 1 << 18, 4)
        if not text:
            return
        asked = json.loads(text)
        answers, *stdio = files
        if child := os.fork():
            for each in stdio:
                os.close(each)
            os.write(answers, b"%d\n" % child)
            ended = os.pidfd_open(child)
            # During a run, the tests ask for nothing: they were killed, perhaps.
            if ended not in select.select([ended, requests.fileno()], [], [])[0]:
                signal.pidfd_send_signal(ended, signal.SIGKILL)
            os.close(ended)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            _end_descendants()
            with contextlib.suppress(BrokenPipeError):
                os.write(answers, b"%d\n" % status)
            os.close(answers)
            continue
        requests.close()
        os.close(answers)
        for number, each in enumerate(stdio):
            os.dup2(each, number)
            os.close(each)
        if os.isatty(0):
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        os.chdir(asked["cwd"])
        os.environ.update(asked["late"])
        # Each run removes it at its end.
        Path(constants.DEFAULT_LOCAL_TMP).mkdir(mode=0o700, parents=True, exist_ok=True)
        sys.argv = [str(Path(sys.executable).with_name("ansible-playbook")), *asked["arguments"]]
        sys.exit(main())


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
