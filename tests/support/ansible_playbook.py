"""ansible-playbook, imported once for many runs: what it imports takes half of the time of a short run.

This file is also the program that imports it, and forks for each run. Of a run nothing is left for the next one.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

#: Variables that Ansible does not read when it is imported, and that differ between tests.
_LATE = ("PYTEST_CURRENT_TEST", "TMPDIR")


class _Server:
    """A process for runs with one environment."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        # Without this file's folder in the path, whose modules have names of the standard library's.
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        atexit.register(self.end)

    def run(self, arguments: list[str], cwd: str, late: dict[str, str]) -> subprocess.CompletedProcess[str]:
        assert self._process.stdin and self._process.stdout
        with tempfile.TemporaryDirectory() as folder:
            asked = {"arguments": arguments, "cwd": cwd, "late": late, "folder": folder}
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            code = int(self._process.stdout.readline())
            output, errors = (Path(folder, name).read_text() for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess(["ansible-playbook", *arguments], code, output, errors)

    def end(self) -> None:
        atexit.unregister(self.end)
        self._process.communicate()


_server: _Server | None = None


def run(arguments: Sequence[str | Path], cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """What ansible-playbook prints with these arguments, without a terminal; nothing is to be read from stdin.

    Runs one after another with the same environment are cheap.
    """
    global _server
    env = dict(env)
    late = {name: env.pop(name) for name in _LATE if name in env}
    # Else the folder would decide, in which Ansible was imported.
    assert "ANSIBLE_CONFIG" in env
    if _server is None or _server.environment != env:
        if _server:
            _server.end()
        _server = _Server(env)
    return _server.run([str(each) for each in arguments], str(cwd), late)


def _serve() -> None:
    """Do the runs that are asked for, one line of JSON each, and answer with exit statuses."""
    from ansible import constants
    from ansible.cli.playbook import main

    # The memory of these stays shared with the runs.
    gc.freeze()
    for line in sys.stdin:
        asked = json.loads(line)
        if child := os.fork():
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
            continue
        os.chdir(asked["cwd"])
        os.environ.update(asked["late"])
        for number, name in enumerate((os.devnull, f"{asked['folder']}/stdout", f"{asked['folder']}/stderr")):
            file = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
            os.dup2(file, number)
            os.close(file)
        # Each run removes it at its end.
        Path(constants.DEFAULT_LOCAL_TMP).mkdir(mode=0o700, parents=True, exist_ok=True)
        sys.argv = [str(Path(sys.executable).with_name("ansible-playbook")), *asked["arguments"]]
        sys.exit(main())


if __name__ == "__main__":
    _serve()
