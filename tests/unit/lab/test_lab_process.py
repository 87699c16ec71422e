import os
import signal
import subprocess
import sys
import time

from lab import process
from lab.process import Identity


def sleeper():
    """A daemon that leads a session with a child in it."""
    daemon = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, time; subprocess.Popen(['sleep', '60']); print('up', flush=True); time.sleep(60)",
        ],
        start_new_session=True,
        stdout=subprocess.PIPE,
    )
    assert daemon.stdout is not None and daemon.stdout.readline() == b"up\n"
    return daemon


def test_a_pid_file_names_a_process_only_while_it_lives(tmp_path):
    daemon = sleeper()
    path = tmp_path / "daemon.pid"
    process.write_identity(path, process.identify(daemon.pid))
    running = process.running(path)
    assert running is not None and running.pid == daemon.pid
    assert process.uptime(running) < 30
    process.kill_session(running)
    daemon.wait()
    assert process.running(path) is None
    assert process.read_identity(path) == running


def test_a_reused_pid_is_not_ours():
    mine = process.identify(os.getpid())
    stale = Identity(mine.pid, mine.started - 1)
    assert mine.alive()
    assert not stale.alive()
    assert process.session_members(stale) == []
    process.kill_session(stale)


def test_children_of_a_killed_daemon_are_found_and_killed():
    daemon = sleeper()
    identity = process.identify(daemon.pid)
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    assert not identity.alive()
    assert len(process.session_members(identity)) == 1
    process.kill_session(identity)
    assert process.session_members(identity) == []


def test_waiting_for_an_end_has_a_limit():
    daemon = sleeper()
    identity = process.identify(daemon.pid)
    begun = time.monotonic()
    assert not process.wait_gone(identity, 0.2)
    assert time.monotonic() - begun < 5
    process.kill_session(identity)
    assert process.wait_gone(identity, 5)
    daemon.wait()


def test_a_broken_pid_file_is_no_process(tmp_path):
    path = tmp_path / "x.pid"
    assert process.read_identity(path) is None
    for text in ("", "12", "{}", '{"pid": 1}', "not json"):
        path.write_text(text)
        assert process.read_identity(path) is None
