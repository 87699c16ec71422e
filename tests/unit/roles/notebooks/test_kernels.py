"""What kernels of people are found to use before a run, by the script that runs in pods of Jupyter."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import yaml

from tests.support import ansible_playbook
from tests.support.paths import ROOT

ROLE = ROOT / "roles" / "notebooks"
SCRIPT = (ROLE / "files" / "kernels.py").read_text()
COMPUTES = "import sys; print(flush=True)\nwhile True: pass"
WAITS = "import sys; held = b'x' * 100_000_000; print(flush=True); sys.stdin.read()"


def found() -> dict[str, int]:
    done = subprocess.run([sys.executable, "-I", "-c", SCRIPT], capture_output=True, text=True, check=True)
    counts: dict[str, int] = json.loads(done.stdout)
    return counts


def test_kernels_are_counted_with_their_memory_and_whether_they_compute() -> None:
    """Others of this machine are counted too."""
    before = found()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, "ipykernel_launcher"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for code in (COMPUTES, WAITS)
    ]
    try:
        for each in processes:
            assert each.stdout
            each.stdout.readline()
        after = found()
    finally:
        for each in processes:
            each.kill()
            each.communicate()
    assert after["kernels"] >= before["kernels"] + 2
    assert after["computing"] >= 1
    assert after["megabytes"] >= before["megabytes"] + 100


def test_a_pod_that_never_answers_does_not_hold_up_a_run(tmp_path: Path) -> None:
    """As one whose notebook stops what runs beside it."""
    pod = {"metadata": {"name": "jupyter"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        kubeconfig = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "x", "cluster": {"server": f"http://127.0.0.1:{silent.getsockname()[1]}"}}],
            "users": [{"name": "x", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
            "current-context": "x",
        }
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
        given = {
            "ansible_python_interpreter": sys.executable,
            "notebooks_kubeconfig": str(tmp_path / "kubeconfig"),
            "notebooks_namespace": "edge-ai",
            "_notebooks_kernels_timeout": 3,
            # What the first task finds.
            "__notebooks_jupyters": {"resources": [pod]},
        }
        tasks = yaml.safe_load((ROLE / "tasks/kernels.yml").read_text())[1:]
        play = {
            "hosts": "localhost",
            "gather_facts": False,
            "vars_files": [str(ROLE / "vars/main.yml")],
            "tasks": tasks,
        }
        (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
        (tmp_path / "files").symlink_to(ROLE / "files")
        options = ["-i", "localhost,", "-c", "local", "-e", json.dumps(given), tmp_path / "play.yml"]
        done = ansible_playbook.run(options, cwd=ROOT, seconds=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "A Jupyter does not say within 3 s" in done.stdout
