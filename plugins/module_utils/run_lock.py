"""One playbook at a time on a cluster: a lock on the control node, and one on a board that all control nodes reach.

Both are held by processes, and end with them: nothing is left to be deleted after a run that was killed.
"""

from __future__ import annotations

import errno
import fcntl
import getpass
import json
import os
import re
import shlex
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

#: Seconds between two signs of life to the board, after how many without one it lets go, and between two connections.
BEAT, LAPSE, RETRY = 5, 30, 15
#: The longest text of a holder that is read.
LONGEST = 2000

#: Runs on the board without being root, because sudo may ask for a password. A run that has just ended may need a
#: moment to let go. Operators may log in as different users there: any of them may lock and write the file, but in a
#: directory like /run/lock only its owner, not even root, may open it with O_CREAT (fs.protected_regular).
SCRIPT = f"""
[ -e "$0" ] || (umask 0; : >>"$0") || exit
exec 9<"$0" || exit
if flock --wait 2 9; then
  IFS= read -r holder && printf '%s\\n' "$holder" | dd of="$0" conv=nocreat status=none 2>/dev/null
  echo held
  while read -r -t {LAPSE}; do :; done
else
  echo busy; head -c {LONGEST} "$0"
fi
"""
BOARD_FILE = "/run/lock/edge-ai-cluster"


def describe(playbook: str) -> str:
    """This run, for the message that another one shows."""
    try:
        user = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # as in a container that runs as a user without a name
        user = str(os.getuid())
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return json.dumps(
        {"user": user, "host": socket.gethostname(), "playbook": playbook, "since": since, "pid": os.getpid()}
    )


def message(cluster: str, holder: str) -> str:
    """What to say of the run that has the lock; its text may come from a board, so nothing of it is trusted."""
    try:
        known = json.loads(holder)
        found = {name: re.sub(r"[^\w@.: +-]", "?", str(known[name]))[:80] for name in known}
        who = "{user}@{host} runs {playbook} since {since}, process {pid}".format_map(found)
    except (ValueError, TypeError, LookupError, RecursionError):
        who = "another playbook runs, which does not say whose it is"
    return (
        f"The cluster {cluster} is in use: {who}. Two playbooks at once would undo each other's work. Nothing was "
        "changed. Wait until that one has ended, or end it there with Ctrl-C, then run this again. A run that was "
        f"killed holds no lock; one whose control node lost its network or power holds it for {LAPSE} s."
    )


class ControlNodeLock:
    """A lock of this process alone: the kernel drops it when the process ends, and no child inherits it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = -1

    def take(self, text: str) -> str:
        """Take it; returns the text of who has it instead, or nothing. Raises OSError where it cannot be written, or
        locked, as on some network file systems.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            # Not flock: workers would inherit that, and one that outlives a killed run would keep it.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, LONGEST).decode(errors="replace")
            os.close(descriptor)
            # What lockf says of a lock that another process has; all else is no holder, and would never end.
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return holder or "unknown"
            raise
        os.ftruncate(descriptor, 0)
        os.write(descriptor, text.encode())
        # Closing any other descriptor of this file in this process would drop the lock.
        self.descriptor = descriptor
        return ""


class BoardLock(threading.Thread):
    """A lock on a board, held by a shell there that lives as long as this process sends it signs of life.

    A board that does not answer is tried again until the end: it may be flashed or rebooted meanwhile.
    """

    def __init__(self, shell: Sequence[str], text: str, lost: Callable[[str], None], file: str = BOARD_FILE) -> None:
        """`shell` runs the command that is its next argument on the board; `lost` is called when another run has the
        lock that this one had, or could not have before.
        """
        super().__init__(daemon=True)
        self.argv = [*shell, shlex.join(["bash", "-c", SCRIPT, file])]
        self.text, self.lost = text, lost
        #: Set when the board has answered, or does not.
        self.answered = threading.Event()
        self.ended = threading.Event()
        self.holder = ""
        self.pipes: list[int] = []
        # A worker that outlives this process must not keep the connection open.
        os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Close the connection's pipes in a child."""
        for descriptor in self.pipes:
            os.close(descriptor)

    def run(self) -> None:
        """Hold the lock, again and again, until the end."""
        while not self.ended.is_set():
            holder = self.hold()
            if holder and self.answered.is_set():
                self.lost(holder)
            self.holder = holder
            self.answered.set()
            if holder:
                return
            self.ended.wait(RETRY)

    def hold(self) -> str:
        """Hold the lock while the connection lasts; returns the text of who has it instead, or nothing."""
        # In a session of its own: Ctrl-C at a question of the playbook is not for this connection.
        with subprocess.Popen(
            self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
            start_new_session=True,
        ) as process:  # fmt: skip
            assert process.stdin and process.stdout
            self.pipes = [process.stdin.fileno(), process.stdout.fileno()]
            try:
                process.stdin.write(f"{self.text}\n".encode())
                answer = process.stdout.readline(LONGEST).strip()
                if answer == b"busy":
                    holder = process.stdout.read(LONGEST).decode(errors="replace").strip()
                    # Itself, after a cable was pulled: the board has not missed it yet.
                    return "" if holder == self.text else holder or "unknown"
                if answer == b"held":
                    self.answered.set()
                    while process.poll() is None and not self.ended.wait(BEAT):
                        process.stdin.write(b"\n")
            except OSError:
                pass  # the connection ended
            finally:
                self.pipes = []
        return ""

    def release(self) -> None:
        """Let go, so that the next run finds it free."""
        self.ended.set()
        self.join(3)
