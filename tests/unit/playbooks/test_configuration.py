"""ansible.cfg, as whoever runs a playbook here has it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

from tests.support.paths import ROOT


def test_arguments_of_modules_are_in_no_file(tmp_path: Path) -> None:
    """What no_log keeps from the output would be on the disk, and a run that is killed would leave it there."""
    folder = tmp_path / "remote"
    folder.mkdir()
    search = {"argv": ["grep", "--recursive", "--files-with-matches", "a-secret", str(folder)], "stdin": "a-secret"}
    task = {"ansible.builtin.command": search, "register": "found", "failed_when": "found.rc == 0"}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", "-c", "local", tmp_path / "play.yml"],
        cwd=ROOT,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "LANG": "C.UTF-8",
            "ANSIBLE_LOCAL_TEMP": str(folder / "local"),
            "ANSIBLE_REMOTE_TMP": str(folder / "remote"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
