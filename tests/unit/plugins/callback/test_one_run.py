"""Two playbooks at once on one cluster; run as a user runs them, with this project's ansible.cfg."""

from __future__ import annotations

import errno
import getpass
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils import run_lock

from tests.support import ansible_playbook
from tests.support.paths import ROOT

INVENTORY = """
[k3s_servers]
one ansible_connection=local
[all:vars]
cluster_name=home
cluster_secrets_dir={directory}/secrets/home
"""
WORK = {
    "name": "Work until the file is there",
    "ansible.builtin.shell": {
        "cmd": "echo $$ >pid; mv pid working; for i in $(seq 300); do [ ! -e end ] || exit 0; sleep 0.2; done; exit 1",
        "chdir": "{{ playbook_dir }}",
    },
}
CHANGE = {
    "name": "Change something",
    "ansible.builtin.copy": {"content": "", "dest": "{{ playbook_dir }}/changed", "mode": "0600"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hosts.ini").write_text(INVENTORY.format(directory=tmp_path))
    for name, task in (("site.yml", WORK), ("upgrade.yml", CHANGE), ("check.yml", CHANGE)):
        tasks = [{"name": f"Play of {name}", "hosts": "one", "gather_facts": False, "tasks": [task]}]
        (tmp_path / name).write_text(json.dumps(tasks))
    return tmp_path


def arguments(playbook: str, *options: str) -> list[str]:
    return ["-i", "hosts.ini", "-e", f"ansible_python_interpreter={sys.executable}", playbook, *options]


def environment() -> dict[str, str]:
    return ansible_playbook.environment(**ansible_playbook.OWN_OUTPUT)


def run(folder: Path, playbook: str, *options: str, **more: str) -> tuple[int, str]:
    done = ansible_playbook.run(arguments(playbook, *options), cwd=folder, env=environment() | more)
    return done.returncode, done.stderr


@contextmanager
def working(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run of site.yml that is in its task."""
    # Beside others: not by their server.
    program = Path(sys.executable).with_name("ansible-playbook")
    with subprocess.Popen(
        [program, *arguments("site.yml")], cwd=folder, env=environment(), stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            while not (folder / "working").exists():
                assert process.poll() is None
                time.sleep(0.1)
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def test_the_second_run_says_who_has_the_cluster_and_changes_nothing(folder: Path) -> None:
    with working(folder) as first:
        code, error = run(folder, "upgrade.yml")
        assert code == 1
        assert "The cluster home is in use: " in error
        user = os.environ.get("SUDO_USER") or getpass.getuser()
        assert f"{user}@{socket.gethostname()} runs site.yml since 20" in error
        assert f"process {first.pid}" in error
        assert "Ctrl-C" in error
        assert not (folder / "changed").exists()
        # What changes nothing may run beside it.
        assert run(folder, "check.yml")[0] == 0
        assert run(folder, "upgrade.yml", "--check")[0] == 0
        (folder / "end").touch()
        assert first.wait(30) == 0
    assert run(folder, "upgrade.yml") == (0, "")


def test_a_killed_run_holds_nothing_though_its_worker_runs_on(folder: Path) -> None:
    with working(folder) as first:
        first.kill()
        first.wait(30)
        os.kill(int((folder / "working").read_text()), 0)
        code, error = run(folder, "upgrade.yml")
        (folder / "end").touch()
    assert (code, error) == (0, "")


@pytest.mark.skipif(not os.access("/run/lock", os.W_OK), reason="has no /run/lock of all users, as boards have")
def test_a_lock_file_that_cannot_be_written_leaves_the_boards_lock(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of another user, or on a read-only disk: here a folder has its name."""
    (folder / "secrets/home.lock").mkdir(parents=True)
    (folder / "hosts.ini").write_text(INVENTORY.format(directory=tmp_path).replace("=local", "=ssh"))
    # The board is this machine.
    (folder / "ssh").write_text(f'#!/bin/bash\nexec bash -c "${{@: -1}}" {tmp_path}/board\n')
    (folder / "ssh").chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    lock = held(Path(run_lock.BOARD_FILE), "anna")
    code, error = run(folder, "upgrade.yml", ANSIBLE_SSH_EXECUTABLE=str(folder / "ssh"))
    lock.release()
    assert code == 1
    assert "home.lock cannot be locked (Is a directory)" in error
    assert "The cluster home is in use: " in error
    assert not (folder / "changed").exists()


def test_a_disk_that_cannot_lock_is_no_other_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(run_lock.fcntl, "lockf", refuse)
    with pytest.raises(OSError, match="No locks available"):
        run_lock.ControlNodeLock(tmp_path / "lock").take("anna")


def test_a_user_without_a_name_holds_the_lock_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SUDO_USER", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_001)
    assert json.loads(run_lock.describe("site.yml"))["user"] == "4000001"


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users, which only root may")
def test_users_of_a_board_exclude_each_other(tmp_path: Path) -> None:
    """In a directory of all users, such as /run/lock: the file is of whoever was first."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o1777)

    def hold(user: int, name: str) -> run_lock.BoardLock:
        shell = ["setpriv", f"--reuid={user}", "--clear-groups", "bash", "-c"]
        lock = run_lock.BoardLock(shell, name, lambda _: None, str(folder / "lock"))
        lock.start()
        assert lock.answered.wait(20)
        return lock

    try:
        first = hold(65534, "anna")
        assert first.holder == ""
        assert hold(1001, "ben").holder == "anna"
        first.release()
        second = hold(1001, "ben")
        assert second.holder == ""
        assert hold(65534, "anna").holder == "ben"
        second.release()
    finally:
        shutil.rmtree(folder)


def test_an_inventory_without_a_cluster_is_not_locked(folder: Path) -> None:
    (folder / "hosts.ini").write_text("one ansible_connection=local\n")
    assert run(folder, "upgrade.yml") == (0, "")
    assert not (folder / "secrets").exists()


def held(file: Path, name: str) -> run_lock.BoardLock:
    """The lock of a board, which is this machine; its answer is there."""
    lock = run_lock.BoardLock(["bash", "-c"], json.dumps({"user": name}), lambda _: None, str(file))
    lock.start()
    assert lock.answered.wait(20)
    return lock


def test_a_board_has_one_holder_and_is_free_when_that_lets_go(tmp_path: Path) -> None:
    first = held(tmp_path / "lock", "anna")
    assert first.holder == ""
    assert json.loads(held(tmp_path / "lock", "ben").holder) == {"user": "anna"}
    # The same run, whose connection was cut: it is no other.
    again = held(tmp_path / "lock", "anna")
    assert again.holder == ""
    again.release()
    first.release()
    third = held(tmp_path / "lock", "ben")
    assert third.holder == ""
    third.release()


HOLD = """
import os, sys, time
from ansible_collections.edge_ai.cluster.plugins.module_utils import run_lock
lock = run_lock.BoardLock(["bash", "-c"], "anna", print, sys.argv[1])
lock.start()
lock.answered.wait(20)
if not os.fork():
    time.sleep(60)  # a worker that outlives it
print("held" if lock.holder == "" else lock.holder, flush=True)
time.sleep(60)
"""


def test_a_board_is_free_when_the_process_was_killed_and_not_its_worker(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdout=subprocess.PIPE, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "collections")},
    ) as process:  # fmt: skip
        assert process.stdout and process.stdout.readline() == b"held\n"
        assert held(tmp_path / "lock", "ben").holder == "anna"
        process.kill()
        begun = time.monotonic()
        lock = held(tmp_path / "lock", "ben")
        os.killpg(process.pid, signal.SIGKILL)
        assert lock.holder == ""
        assert time.monotonic() - begun < run_lock.LAPSE / 2
        lock.release()


def test_of_a_line_without_an_end_little_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "RETRY", 60)
    lock = run_lock.BoardLock(["sh", "-c", "head -c 1000000000 /dev/zero; true"], "anna", lambda _: None)
    lock.start()
    assert lock.answered.wait(20)
    assert lock.holder == ""
    lock.release()


def test_a_board_that_does_not_answer_is_not_waited_for() -> None:
    lock = run_lock.BoardLock(["false"], "anna", lambda _: None)
    lock.start()
    assert lock.answered.wait(10)
    assert lock.holder == ""
    lock.release()


def test_a_board_lets_go_of_a_control_node_that_is_silent(tmp_path: Path) -> None:
    script = run_lock.SCRIPT.replace(f"-t {run_lock.LAPSE}", "-t 1")
    with subprocess.Popen(
        ["bash", "-c", script, str(tmp_path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as silent:
        assert silent.stdin and silent.stdout
        silent.stdin.write(b"anna\n")
        assert silent.stdout.readline() == b"held\n"
        lock = held(tmp_path / "lock", "ben")
        assert lock.holder == ""
        lock.release()


def test_a_run_hears_of_another_that_the_board_let_in_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_lock, "RETRY", 0.1)
    board = tmp_path / "board"
    board.write_text(f'#!/bin/sh\n[ -e {tmp_path}/on ] || exit 255\nexec bash -c "$1"\n')
    board.chmod(0o700)
    heard: queue.Queue[str] = queue.Queue()
    first = run_lock.BoardLock([str(board)], "anna", heard.put, str(tmp_path / "lock"))
    first.start()
    assert first.answered.wait(20) and first.holder == ""
    second = held(tmp_path / "lock", "ben")
    (tmp_path / "on").touch()
    assert json.loads(heard.get(timeout=20)) == {"user": "ben"}
    second.release()
    first.release()


@pytest.mark.parametrize("text", ["", "unknown", "[1]", '{"user": "x"}', "\x1b[2J", "[" * 2000])
def test_a_holder_that_cannot_be_read_is_reported(text: str) -> None:
    assert "another playbook runs" in run_lock.message("home", text)


def test_what_a_board_says_is_not_shown_as_it_is() -> None:
    text = json.loads(run_lock.describe("site.yml")) | {"user": "\x1b[2J\nroot" + "x" * 500}
    shown = run_lock.message("home", json.dumps(text))
    assert "\x1b" not in shown and "\n" not in shown
    assert len(shown) < 700
