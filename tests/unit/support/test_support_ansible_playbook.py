"""Runs of ansible-playbook that share an import of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from tests.support.paths import ROOT

TESTS = """
import sys
from pathlib import Path
from tests.support import ansible_playbook
ansible_playbook.run(["-i", "pi-01,", "play.yml"], cwd=Path(sys.argv[1]))
"""


def test_a_run_of_tests_that_were_killed_ends(tmp_path: Path) -> None:
    """With the worker and the module, which have a session of their own."""
    script = f"echo $$ >{tmp_path}/new && mv {tmp_path}/new {tmp_path}/pid && sleep 60"
    play = {
        "hosts": "all", "connection": "local", "gather_facts": False,
        "vars": {"ansible_python_interpreter": sys.executable},
        "tasks": [{"ansible.builtin.shell": script}],
    }  # fmt: skip
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    tests = subprocess.Popen([sys.executable, "-c", TESTS, str(tmp_path)], cwd=ROOT)
    try:
        while not (tmp_path / "pid").exists():
            assert tests.poll() is None
            time.sleep(0.1)
    finally:
        tests.kill()
        tests.wait()
    module = Path("/proc", (tmp_path / "pid").read_text().strip())
    end = time.monotonic() + 20
    while module.exists():
        assert time.monotonic() < end, "the module of a killed run is still there"
        time.sleep(0.1)
