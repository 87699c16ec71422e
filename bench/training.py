"""Measure the training of `fast` against that of `thesis`: seconds of the clock and of processors, and accuracy.

    python -m bench.training --python IMAGE_PYTHON --data DIRECTORY        # one thread on one processor, five runs
    python -m bench.training --python ... --threads 1 2 4 --runs 3 --json results/training.json

--python is a Python that has what the notebooks' image has, --data the directory that has mnist (notebooks/README.md).
Each run trains once with each profile and number of threads, in turn, so what else the machine does meets all of
them alike; processors' seconds suffer less from it than those of the clock. Threads are TensorFlow's; they get as many
processors, where there are so many.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.speeds import ROOT, Figures, machine, report

PROFILES = ("thesis", "fast")


def train(python: Path, data: Path, profile: str, threads: int) -> dict[str, Any]:
    """One training in a process of its own, as training_once.py reports it; exits when it fails."""
    # The last ones: interrupts tend to go to the first.
    processors = sorted(os.sched_getaffinity(0))[-threads:]
    env = {"TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": str(threads)}
    done = subprocess.run(
        [python, ROOT / "bench" / "training_once.py", data, profile], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "notebooks"), **env},
        preexec_fn=lambda: os.sched_setaffinity(0, processors),
    )  # fmt: skip
    if done.returncode != 0:
        sys.exit(f"training of {profile} failed (exit status {done.returncode}): {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def add(figures: Figures, threads: int, results: dict[str, dict[str, Any]]) -> None:
    """The figures of one run with so many threads: by profile and phase, and the ratios of the profiles."""
    at = f"{threads} thread{'' if threads == 1 else 's'}"
    for profile, result in results.items():
        for phase, seconds in result["processor"].items():
            figures.add(f"{at}, {profile}, {phase}, processor", seconds)
        for kind in ("processor", "clock"):
            figures.add(f"{at}, {profile}, total, {kind}", sum(result[kind].values()))
        figures.add(f"{at}, {profile}, accuracy", 100 * result["accuracy"], unit="%")
    for kind in ("processor", "clock"):
        total = {profile: sum(result[kind].values()) for profile, result in results.items()}
        without = {profile: seconds - results[profile][kind]["import"] for profile, seconds in total.items()}
        figures.add(f"{at}, fast / thesis, {kind}", total["fast"] / total["thesis"], 0.25, "ratio")
        figures.add(f"{at}, fast / thesis without import, {kind}", without["fast"] / without["thesis"], None, "ratio")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="default: this one")
    parser.add_argument("--data", type=Path, required=True, help="the directory that has mnist")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], metavar="N")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="how often each is measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures and the machine there")
    options = parser.parse_args()
    figures, facts = Figures(), machine()
    for _ in range(options.runs):
        for threads in options.threads:
            add(figures, threads, {each: train(options.python, options.data, each, threads) for each in PROFILES})
    report(figures, facts, options.json)


if __name__ == "__main__":
    main()
