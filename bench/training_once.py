"""Execute training.ipynb up to its test in this process, with its phases in seconds of processors too; prints JSON.

    PYTHONPATH=notebooks python bench/training_once.py DATA PROFILE     # with the packages of the notebooks' image

For bench/training.py. Without Jupyter, whose kernel costs the same for each profile and is in none of its phases.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def cells() -> dict[str, str]:
    """The notebook's code by the id of its cell, to the one that tests: what follows is not in its times."""
    code = {}
    for cell in json.loads((NOTEBOOKS / "training.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            code[cell["id"]] = "".join(cell["source"])
        if cell["id"] == "test":
            return code
    raise SystemExit("training.ipynb has no cell with the id test: correct bench/training_once.py")


def train(data: Path, profile: str) -> dict[str, Any]:
    """Seconds by phase, of the clock and of processors, and accuracy; what is written is removed with its folder."""
    import edge_notebooks as edge

    processor: dict[str, float] = {}

    class Clock(edge.PhaseClock):
        @contextlib.contextmanager
        def phase(self, name: str) -> Iterator[None]:
            began = time.process_time()
            with super().phase(name):
                yield
            processor[name] = round(time.process_time() - began, 4)

    edge.PhaseClock = Clock  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        (Path(folder) / "data").symlink_to(data.resolve())
        names: dict[str, Any] = {}
        for name, code in cells().items():
            exec(compile(code, f"training.ipynb, cell {name}", "exec"), names)
            if name == "parameters":
                names |= {"books": folder, "notebooks": str(NOTEBOOKS), "profile": profile}
    clock = {name: seconds for name, seconds in names["clock"].seconds.items() if seconds is not None}
    return {"clock": clock, "processor": processor, "accuracy": float(names["test_accuracy"])}


if __name__ == "__main__":
    result = train(Path(sys.argv[1]), sys.argv[2])
    print(json.dumps(result))
