"""What kernels of people are found to use before a run, by the script that runs in pods of Jupyter."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.support.paths import ROOT

SCRIPT = (ROOT / "roles" / "notebooks" / "files" / "kernels.py").read_text()
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
