"""The image for Raspberry Pis runs: on x86_64 by qemu-user as the processor of a Raspberry Pi 4, beside the other one.

docs/decisions/0009-arm64-under-qemu.md: what this shows, and what it does not.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.image import Image

Images = dict[str, Image]

#: Bit of the processor's capabilities (AT_HWCAP): atomic instructions of ARMv8.1, which a Raspberry Pi 4 lacks.
CAPABILITIES = "import ctypes, platform; print(platform.machine(), ctypes.CDLL(None).getauxval(16) >> 8 & 1)"

#: Imports every package that the image has, and what the build imports where it can run its image.
IMPORTS = """
import importlib, importlib.metadata, json, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
names = {name for name in importlib.metadata.packages_distributions() if name.isidentifier() and name[0] != "_"}
errors = {}
for name in sorted(names | set(sys.argv[1].split())):
    try:
        importlib.import_module(name)
    except BaseException as error:
        errors[name] = f"{type(error).__name__}: {error}"
print(json.dumps({"imported": len(names), "errors": errors}))
"""
#: The run that each trains.
RUNS = {"amd64": "20260101T000000Z-00000001", "arm64": "20260101T000000Z-00000002"}
#: Seconds for one command, also on a machine that other work keeps busy.
PATIENCE = 3600


def records(shared: Path, run: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The records of a run by notebook and profile."""
    timings = json.loads((shared / "runs" / run / "timings.json").read_text())
    return {(each["notebook"], each["profile"]): each for each in timings}


def test_processor_is_that_of_a_raspberry_pi_4(small: Images, shared: Path) -> None:
    command = ["python", "-c", CAPABILITIES]
    assert small["arm64"].run(command, shared, PATIENCE) == "aarch64 0\n"
    # It is this setting that takes the instructions away: qemu's own processor has them.
    assert small["arm64"].run(command, shared, PATIENCE, QEMU_CPU="max") == "aarch64 1\n"


def check_imports(images: Images, shared: Path, needed: str) -> None:
    command = ["python", "-c", IMPORTS, needed]
    found = {arch: json.loads(image.run(command, shared, PATIENCE).splitlines()[-1]) for arch, image in images.items()}
    assert found["arm64"]["imported"] > 20
    assert not set(found["arm64"]["errors"]) & set(needed.split())
    assert sorted(found["arm64"]["errors"]) == sorted(found["amd64"]["errors"]), found


def test_everything_in_the_small_image_imports_as_on_x86_64(small: Images, shared: Path) -> None:
    check_imports(small, shared, "ai_edge_litert.interpreter numpy papermill ipykernel.kernelapp")


def test_everything_in_the_large_image_imports_as_on_x86_64(large: Images, shared: Path) -> None:
    needed = "tensorflow keras h5py pandas matplotlib.pyplot nbconvert jupyterlab numpy papermill ipykernel.kernelapp"
    check_imports(large, shared, needed)


@pytest.mark.parametrize(("trains", "predicts"), [("amd64", "arm64"), ("arm64", "amd64")])
def test_one_trains_and_the_other_predicts(
    large: Images, small: Images, shared: Path, trains: str, predicts: str
) -> None:
    run = RUNS[trains]
    large[trains].notebook(["training", "--profile=fast", f"--run={run}"], shared, PATIENCE)
    large[predicts].notebook(["prediction", "--profile=fast", f"--run={run}"], shared, PATIENCE)
    # The small image has the model in another library's form.
    small[predicts].notebook(["prediction", "--profile=lite", f"--run={run}"], shared, PATIENCE)

    machine = {"amd64": "x86_64", "arm64": "aarch64"}
    found = records(shared, run)
    training, fast, lite = (
        found[key] for key in (("training", "fast"), ("prediction", "fast"), ("prediction", "lite"))
    )
    assert f", {machine[trains]}, " in training["hardware"], training
    for record in (fast, lite):
        assert f", {machine[predicts]}, " in record["hardware"], record
        assert record["test_accuracy"] == pytest.approx(training["test_accuracy"], abs=0.0005)
        assert record["test_accuracy"] > 0.95
    assert fast["weights_sha256"] == training["weights_sha256"]
    for profile in ("fast", "lite"):
        shown = json.loads((shared / "runs" / run / profile / "prediction.json").read_text())
        assert (shown["digit"], shown["label"]) == (0, 0)


def test_both_compute_the_same_probabilities(large: Images, shared: Path) -> None:
    """The same weights file, read by both: what each computes of image 10."""
    path = shared / "runs" / RUNS["amd64"] / "fast" / "prediction.json"
    by_arm64 = json.loads(path.read_text())["probabilities"]
    large["amd64"].notebook(["prediction", "--profile=fast", f"--run={RUNS['amd64']}"], shared, PATIENCE)
    assert json.loads(path.read_text())["probabilities"] == pytest.approx(by_arm64, abs=1e-4)
