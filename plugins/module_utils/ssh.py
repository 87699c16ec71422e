"""How ssh is started from the control node."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

#: Ends the part of standard input that is not the command's own.
_BEGIN = "edge-ai-cluster: input begins"
# sudo reads one line where it asks for a password, and none where it does not ask this user: skip what is left.
_SKIP = f'while IFS= read -r line && [ "$line" != "{_BEGIN}" ]; do :; done; exec "$@"'
#: For gigabytes that are compressed already; a board that is busy starting Kubernetes may be silent for two minutes.
STREAM = {"Compression": "no", "ConnectTimeout": "20", "ServerAliveInterval": "15", "ServerAliveCountMax": "8"}


def ssh_argv(
    host: str,
    options: Mapping[str, str],
    *,
    user: str = "",
    port: int | str = "",
    key: str = "",
    args: Iterable[str] = (),
) -> list[str]:
    """Argv that a command for `host` is appended to: no terminal, no questions, errors only.

    `options` are ssh's own, as for -o; `args` are further arguments, such as a jump host. What is empty is left to
    ssh's configuration.
    """
    argv = ["ssh", "-T"]
    for name, value in {"BatchMode": "yes", "LogLevel": "ERROR", **options}.items():
        argv += ["-o", f"{name}={value}"]
    if key:
        argv += ["-i", str(Path(key).expanduser())]
    if port:
        argv += ["-p", str(port)]
    if user:
        argv += ["-l", user]
    return [*argv, *args, host]


def stream_argv(ssh: Mapping[str, Any]) -> list[str]:
    """Argv that a command is appended to, for streams; `ssh` has host, and may have user, port, key and args (text)."""
    return ssh_argv(
        ssh["host"],
        STREAM,
        user=ssh.get("user") or "",
        port=ssh.get("port") or "",
        key=ssh.get("key") or "",
        args=shlex.split(ssh.get("args") or ""),
    )


def root_argv(ssh: Mapping[str, Any], command: Sequence[str]) -> list[str]:
    """Argv that runs a command as root on a host, for streams; its standard input must begin with `preamble(ssh)`.

    `ssh` is that of `stream_argv`, or has `connection: local`; it may have `password`, the one that sudo asks for.
    """
    argv = list(command)
    if _needs_sudo(ssh):
        password = ["sudo", "-S", "-p", "", "sh", "-c", _SKIP, "sh"]
        argv = [*(password if ssh.get("password") else ["sudo", "-n"]), *argv]
    return argv if ssh.get("connection") == "local" else [*stream_argv(ssh), shlex.join(argv)]


def preamble(ssh: Mapping[str, Any]) -> bytes:
    """How the standard input of `root_argv`'s command must begin: never an argument, which others can see."""
    return f"{ssh['password']}\n{_BEGIN}\n".encode() if _needs_sudo(ssh) and ssh.get("password") else b""


class Tail(threading.Thread):
    """Reads what a process says to its end, and keeps the last bytes: a board may say anything, without end."""

    def __init__(self, pipe: IO[bytes], size: int) -> None:
        super().__init__(daemon=True)
        self.pipe, self.size, self.kept = pipe, size, b""
        self.start()

    def run(self) -> None:
        """The thread."""
        with self.pipe:
            while content := os.read(self.pipe.fileno(), 1 << 16):
                self.kept = (self.kept + content)[-self.size :]

    def text(self) -> str:
        """The end of what was said, when the process has ended. What it left running may have the pipe still open."""
        self.join(1)
        return self.kept.decode(errors="replace").strip()


class Running(NamedTuple):
    """A command that runs as root on a host."""

    process: subprocess.Popen[bytes]
    errors: Tail
    late: threading.Event
    """Set when it was killed because its time was over."""


@contextmanager
def running(
    ssh: Mapping[str, Any], command: Sequence[str], timeout: float, longest: int, begin: bytes = b""
) -> Iterator[Running]:
    """A command as `root_argv` runs it, for streams; its standard input has begun with `begin`. Killed when left.

    `timeout` in seconds is for all of it; of its errors the last `longest` bytes are kept.
    """
    late = threading.Event()
    argv = root_argv(ssh, command)
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin and process.stderr
    errors = Tail(process.stderr, longest)

    def stop() -> None:
        late.set()
        process.kill()

    watchdog = threading.Timer(timeout, stop)
    watchdog.start()
    try:
        with suppress(BrokenPipeError):
            process.stdin.write(preamble(ssh) + begin)
            process.stdin.flush()
        yield Running(process, errors, late)
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()


def captured(argv: Sequence[str], timeout: float, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command that asks a board, with `text` as its input: its exit status, and the last MiB of its output and
    of its errors.

    Raises subprocess.TimeoutExpired.
    """
    with tempfile.TemporaryFile() as given:
        given.write(text.encode())
        given.seek(0)
        process = subprocess.Popen(argv, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout and process.stderr
    output, errors = Tail(process.stdout, 1 << 20), Tail(process.stderr, 1 << 20)
    try:
        code = process.wait(timeout)
    finally:
        _end(process)
    return subprocess.CompletedProcess(argv, code, output.text(), errors.text())


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that may have ended, and before it what it started: the ssh of an sftp waits for its server.

    Not by a group of its own: Ansible ends its workers with all of theirs.
    """
    if process.poll() is None:
        with suppress(OSError):
            for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
    process.kill()
    process.wait()


def _needs_sudo(ssh: Mapping[str, Any]) -> bool:
    return ssh.get("user", "root") != "root"


def become_password(action: Any, variables: Mapping[str, Any], host: str) -> str:
    """The password that an action plugin may give to sudo on a host: ansible_become_password, or that of -K."""
    known = variables["hostvars"][host]
    given = known.get("ansible_become_password") or known.get("ansible_become_pass")
    return str(given or action._play_context.become_pass or "")
