"""How ssh is started."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.ssh import (
    Tail,
    captured,
    preamble,
    root_argv,
    ssh_argv,
    stream_argv,
)


def test_ssh_takes_the_inventorys_own_options() -> None:
    ssh = {
        "connection": "ssh",
        "host": "192.0.2.1",
        "port": 2222,
        "user": "pi",
        "key": "/k",
        "args": "-o 'A=b c' -o D=e",
    }
    argv = stream_argv(ssh)
    assert argv[-5:] == ["-o", "A=b c", "-o", "D=e", "192.0.2.1"]
    assert argv[argv.index("-p") :][:2] == ["-p", "2222"]
    assert "Compression=no" in argv


def test_what_is_empty_is_left_to_ssh_s_configuration() -> None:
    assert ssh_argv("192.0.2.1", {}) == ["ssh", "-T", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "192.0.2.1"]
    assert stream_argv({"host": "192.0.2.1", "user": "", "port": "", "key": "", "args": " "})[-1] == "192.0.2.1"
    assert "-l" not in stream_argv({"host": "192.0.2.1"})


def test_a_key_of_one_s_home_is_found() -> None:
    argv = ssh_argv("192.0.2.1", {}, key="~/.ssh/id")
    assert not argv[argv.index("-i") + 1].startswith("~")


# Programs with the names of ssh and sudo: what matters here is what reaches the command on its standard input.
SSH = """#!/bin/sh
for last; do :; done
exec sh -c "$last"
"""
ASKS = """#!/bin/sh
[ "$1" = -n ] && { echo 'sudo: a password is required' >&2; exit 1; }
IFS= read -r given
[ "$given" = "pass word" ] || { echo "sudo: incorrect password" >&2; exit 1; }
shift 3
exec "$@"
"""
ASKS_NOT = """#!/bin/sh
[ "$1" = -n ] && shift || shift 3
exec "$@"
"""


def through_sudo(tmp_path: Path, sudo: str, password: str) -> subprocess.CompletedProcess[bytes]:
    for name, text in (("ssh", SSH), ("sudo", sudo)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    ssh = {"host": "192.0.2.1", "user": "ada", "password": password}
    argv = root_argv(ssh, ["sh", "-c", "cat; echo '$HOME' \"$0\"", "two words"])
    assert "pass word" not in " ".join(argv)
    return subprocess.run(
        argv,
        input=preamble(ssh) + b"one\n\0two\n",
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize(("sudo", "password"), [(ASKS, "pass word"), (ASKS_NOT, "pass word"), (ASKS_NOT, "")])
def test_the_command_reads_its_input_and_not_the_password(tmp_path: Path, sudo: str, password: str) -> None:
    done = through_sudo(tmp_path, sudo, password)
    assert (done.returncode, done.stdout) == (0, b"one\n\0two\n$HOME two words\n"), done.stderr


@pytest.mark.parametrize("password", ["", "another"])
def test_a_command_does_not_run_without_the_right_password(tmp_path: Path, password: str) -> None:
    done = through_sudo(tmp_path, ASKS, password)
    assert done.returncode == 1
    assert done.stdout == b""
    assert b"sudo" in done.stderr


def test_root_needs_no_sudo() -> None:
    ssh = {"host": "192.0.2.1", "user": "root", "password": "secret"}
    assert root_argv(ssh, ["id"])[-1] == "id"
    assert preamble(ssh) == b""


@pytest.mark.parametrize(
    ("script", "end"),
    [
        ("yes | head -c 50000000; echo no space left", "y\nno space left"),
        # ssh leaves a master running, which has the pipe open, too.
        ("echo denied; sleep 20 & echo $! >&2", "denied"),
    ],
)
def test_of_what_a_board_says_the_end_is_kept(script: str, end: str) -> None:
    begun = time.monotonic()
    process = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout and process.stderr
    tail, errors = Tail(process.stdout, 17), Tail(process.stderr, 17)
    process.wait()
    assert tail.text() == end
    assert time.monotonic() - begun < 15
    if left := errors.text():
        os.kill(int(left), signal.SIGTERM)


def test_a_board_that_answers_without_end_takes_no_memory() -> None:
    """What it says is no UTF-8 either."""
    argv = [sys.executable, "-c", ASKING, "cat /dev/zero | tr '\\0' '\\377' | head -c 300000000; echo end"]
    argv = ["sh", "-c", 'ulimit -d 150000; exec "$@"', "sh", *argv]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": PATH})
    assert done.stdout == f"0 {1 << 20} end\n"


ASKING = """
import sys
from ansible_collections.edge_ai.cluster.plugins.module_utils.ssh import captured
done = captured(["sh", "-c", sys.argv[1]], 60)
print(done.returncode, len(done.stdout) + 1, done.stdout[-3:])
"""
PATH = os.pathsep.join(sys.path)


def test_a_board_that_does_not_end_its_answer_is_left() -> None:
    begun = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        captured(["sleep", "60"], 0.2)
    assert time.monotonic() - begun < 20
