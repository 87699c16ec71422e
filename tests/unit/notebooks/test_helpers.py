"""The notebooks' helper module: clock, IDX files, records, files that appear as a whole."""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tarfile
import threading
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from notebooks import run as runner
from tests.support.paths import ROOT

NOTEBOOKS = ROOT / "notebooks"


def idx(shape: tuple[int, ...], values: bytes, kind: int = 8) -> bytes:
    """An IDX file, in its format: header, then one byte for each value."""
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + values


# --- IDX files


def test_images_are_read_with_their_shape(edge: Any, tmp_path: Path) -> None:
    content = idx((2, 3, 2), bytes(range(12)))
    (tmp_path / "images").write_bytes(content)
    images = edge.read_idx(tmp_path / "images", hashlib.sha256(content).hexdigest())
    assert images.dtype == np.uint8
    assert images.tolist() == [[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [10, 11]]]


def test_labels_are_read(edge: Any, tmp_path: Path) -> None:
    (tmp_path / "labels").write_bytes(idx((3,), b"\x07\x02\x01"))
    assert edge.read_idx(tmp_path / "labels").tolist() == [7, 2, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx((2, 3), bytes(5)), r"has 17 bytes, but its header specifies 18 \(shape \(2, 3\)\)"),
        (idx((2, 3), bytes(7)), "has 19 bytes, but its header specifies 18"),
        (idx((2,), bytes(8), kind=0x0D), "is not an IDX file of unsigned bytes"),
        (b"\x1f\x8b\x08\x00compressed", "is not an IDX file of unsigned bytes"),
        (b"", r"is not an IDX file of unsigned bytes \(first bytes none\)"),
        (b"\x00\x00\x08\x03\x00", "has 5 bytes, but its header specifies 16"),
    ],
)
def test_invalid_file_is_rejected(edge: Any, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "images").write_bytes(content)
    with pytest.raises(edge.InvalidFile, match=message):
        edge.read_idx(tmp_path / "images")


def test_damaged_file_is_rejected_with_both_digests(edge: Any, tmp_path: Path) -> None:
    content = bytearray(idx((4,), b"1234"))
    digest = hashlib.sha256(content).hexdigest()
    content[-1] ^= 1
    (tmp_path / "labels").write_bytes(content)
    with pytest.raises(edge.InvalidFile, match=f"{hashlib.sha256(content).hexdigest()}, not {digest}"):
        edge.read_idx(tmp_path / "labels", digest)


def test_missing_file_is_reported(edge: Any, tmp_path: Path) -> None:
    with pytest.raises(edge.InvalidFile, match="t10k-images-idx3-ubyte: cannot be read"):
        edge.load_images(tmp_path, "t10k")


def test_unknown_data_set_is_reported_with_the_known_ones(edge: Any) -> None:
    with pytest.raises(edge.InvalidFile, match="no data set 'cifar'; it has: mnist"):
        edge.dataset("cifar")


def test_pixels_become_small_32_bit_numbers_around_zero(edge: Any) -> None:
    scaled = edge.standardise(np.array([[0, 33, 255]], dtype=np.uint8))
    assert scaled.dtype == np.float32
    assert scaled[0] == pytest.approx([-0.4237, -0.0038, 2.8206], abs=1e-4)


# --- clock


def test_phases_are_timed_and_summed(edge: Any) -> None:
    clock = edge.PhaseClock()
    with clock.phase("data"):
        time.sleep(0.02)
    with clock.phase("fit"):
        time.sleep(0.01)
    assert 0.02 <= clock.seconds["data"] < 1
    assert clock.total == pytest.approx(clock.seconds["data"] + clock.seconds["fit"])
    assert [name for name, seconds in clock.seconds.items() if seconds is None] == [
        "import", "build", "save", "load", "predict"
    ]  # fmt: skip


def test_phase_that_fails_is_not_recorded(edge: Any) -> None:
    clock = edge.PhaseClock()
    with pytest.raises(ZeroDivisionError), clock.phase("fit"):
        _ = 1 / 0
    assert clock.seconds["fit"] is None


def test_phase_has_a_known_name_and_is_timed_once(edge: Any) -> None:
    clock = edge.PhaseClock()
    with clock.phase("load"):
        pass
    with pytest.raises(ValueError, match="already timed"), clock.phase("load"):
        pass
    with pytest.raises(ValueError, match="unknown phase 'lunch'"), clock.phase("lunch"):
        pass


def test_thesis_clock_spans_phases(edge: Any) -> None:
    clock = edge.PhaseClock()
    with pytest.raises(ValueError, match="not called"):
        clock.stop_thesis_clock()
    with clock.phase("build"):
        clock.start_thesis_clock()
        time.sleep(0.01)
    with clock.phase("fit"):
        time.sleep(0.01)
    assert clock.stop_thesis_clock() >= 0.02


@pytest.fixture
def collecting() -> Iterator[None]:
    gc.unfreeze()
    gc.enable()
    yield
    gc.unfreeze()
    gc.enable()


def test_hidden_packages_are_absent_only_during_the_import(edge: Any) -> None:
    sys.modules.pop("colorsys", None)
    with edge.lean_import("colorsys", "json"):
        with pytest.raises(ImportError):
            importlib.import_module("colorsys")
        # What is loaded stays: hiding it would break those who use it.
        assert importlib.import_module("json") is json
    assert importlib.import_module("colorsys").__name__ == "colorsys"


def test_import_is_not_searched_for_garbage_nor_is_what_it_left(edge: Any, collecting: None) -> None:
    with edge.lean_import():
        assert not gc.isenabled()
    assert gc.isenabled() and gc.get_freeze_count() > 0


def test_garbage_is_searched_for_again_after_a_failing_import(edge: Any, collecting: None) -> None:
    with pytest.raises(ImportError), edge.lean_import():
        importlib.import_module("there_is_no_such_module")
    assert gc.isenabled()


def test_garbage_is_not_searched_for_where_it_was_not_before(edge: Any, collecting: None) -> None:
    gc.disable()
    with edge.lean_import():
        pass
    assert not gc.isenabled() and gc.get_freeze_count() == 0


def test_standard_error_works_again_after_a_failing_import(edge: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImportError), edge.lean_import():
        os.write(2, b"noise of a C++ library\n")
        importlib.import_module("there_is_no_such_module")
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"


# --- files that appear as a whole


def test_failing_writer_leaves_the_old_file_and_no_other(edge: Any, tmp_path: Path) -> None:
    path = tmp_path / "weights" / "model.weights.h5"
    edge.write_text(path, "old")
    with pytest.raises(OSError, match="full"), edge.publish(path) as temporary:
        temporary.write_text("half of the new")
        raise OSError("full")
    assert [file.name for file in path.parent.iterdir()] == ["model.weights.h5"]
    assert path.read_text() == "old"


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(small)], check=False)
    if mounted.returncode:
        pytest.skip("needs the right to mount")
    yield small
    subprocess.run(["umount", str(small)], check=True)


def test_full_disk_leaves_the_old_file_and_is_reported_with_the_path(edge: Any, full: Path, tmp_path: Path) -> None:
    path = full / "model.weights.h5"
    path.write_bytes(b"old")
    (tmp_path / "new").write_bytes(os.urandom(80_000))
    with pytest.raises(OSError, match=re.escape(f"No space left on device: '{path}'")):
        edge.copy_file(tmp_path / "new", path)
    assert path.read_bytes() == b"old"
    assert list(full.iterdir()) == [path]


def test_killed_writer_leaves_the_old_file(edge: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.weights.h5"
    edge.write_text(path, "old")
    code = (
        f"import sys, time; sys.path.insert(0, {str(NOTEBOOKS)!r})\n"
        "import edge_notebooks as edge; from pathlib import Path\n"
        f"with edge.publish(Path({str(path)!r})) as temporary:\n"
        "    temporary.write_text('half of the new')\n"
        "    print('writing', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout and writer.stdout.readline() == "writing\n"
        writer.send_signal(signal.SIGKILL)
    assert path.read_text() == "old"
    edge.write_text(path, "new")
    assert path.read_text() == "new"


def test_temporary_name_keeps_the_suffix_and_is_hidden(edge: Any, tmp_path: Path) -> None:
    with edge.publish(tmp_path / "model.weights.h5") as temporary:
        assert temporary.name.startswith(".") and temporary.name.endswith(".weights.h5")
        assert temporary.parent == tmp_path
        temporary.write_text("")


# --- weights


class Model:
    """The part of a Keras model that save_weights uses."""

    def __init__(self, weights: bytes) -> None:
        self.weights = weights

    def save_weights(self, path: Path) -> None:
        path.write_bytes(self.weights)


@pytest.fixture
def weights(edge: Any, tmp_path: Path) -> Path:
    path = tmp_path / "weights" / "fast" / "model.weights.h5"
    edge.save_weights(Model(b"trained"), RUN, path)
    return path


def test_weights_are_used_from_a_private_copy_that_training_recorded(edge: Any, tmp_path: Path, weights: Path) -> None:
    assert json.loads(weights.with_suffix(".json").read_text())["run"] == RUN
    with edge.trained_weights(tmp_path, weights) as (copy, digest):
        weights.write_bytes(b"another")
        assert copy.read_bytes() == b"trained" and copy.name == "model.weights.h5"
        assert digest == edge.hashlib.sha256(b"trained").hexdigest()
    assert not copy.exists()


def test_other_weights_are_rejected_with_path_and_remedy(edge: Any, tmp_path: Path, weights: Path) -> None:
    weights.write_bytes(b"another")
    with pytest.raises(edge.InvalidFile) as rejected, edge.trained_weights(tmp_path, weights, patience=0.1):
        pass
    message = str(rejected.value)
    assert message.startswith(f"{weights}: SHA-256 is") and "Execute training.ipynb again" in message


@pytest.mark.parametrize("record", ["", "[]", '{"sha256": 5}', '{"sha256": "AB"}', "[" * 50_000])
def test_weights_with_an_invalid_record_are_rejected(edge: Any, tmp_path: Path, weights: Path, record: str) -> None:
    weights.with_suffix(".json").write_text(record)
    with (
        pytest.raises(edge.shared_data.Refused, match=r"model\.weights\.json"),
        edge.trained_weights(tmp_path, weights),
    ):
        pass


@pytest.mark.parametrize("gone", ["model.weights.h5", "model.weights.json"])
def test_weights_without_a_record_are_rejected(edge: Any, tmp_path: Path, weights: Path, gone: str) -> None:
    (weights.parent / gone).unlink()
    with (
        pytest.raises(edge.InvalidFile, match=r"execute training\.ipynb first"),
        edge.trained_weights(tmp_path, weights),
    ):
        pass


def test_model_of_lite_is_recorded_and_verified_as_weights_are(edge: Any, tmp_path: Path) -> None:
    (local := tmp_path / "converted").write_bytes(b"converted")
    model = tmp_path / "weights" / edge.MODELS["lite"]
    digest = edge._publish_model(local, RUN, [model])
    assert sorted(path.name for path in model.parent.iterdir()) == ["model.tflite", "model.tflite.json"]
    with edge.trained_weights(tmp_path, model) as (copy, found):
        assert (copy.read_bytes(), found) == (b"converted", digest)
    model.write_bytes(b"another")
    with pytest.raises(edge.InvalidFile, match="SHA-256 is"), edge.trained_weights(tmp_path, model, patience=0.1):
        pass


def test_weights_are_not_read_through_links(edge: Any, tmp_path: Path, weights: Path) -> None:
    (tmp_path / "weights").rename(tmp_path / "elsewhere")
    (tmp_path / "weights").symlink_to("elsewhere")
    with pytest.raises(edge.shared_data.Refused, match="is not followed"), edge.trained_weights(tmp_path, weights):
        pass


def test_reader_waits_for_weights_that_are_being_published(edge: Any, tmp_path: Path, weights: Path) -> None:
    """Between its two renames a writer has published the new weights beside the old record."""
    weights.write_bytes(b"newer")
    record = json.dumps({"sha256": edge.hashlib.sha256(b"newer").hexdigest(), "run": RUN})
    timer = threading.Timer(0.3, edge.write_text, (weights.with_suffix(".json"), record))
    timer.start()
    with edge.trained_weights(tmp_path, weights) as (copy, _):
        assert copy.read_bytes() == b"newer"
    timer.join()


def test_lite_has_no_training(edge: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.command_line(["prediction", "--profile=lite"]).profile == "lite"
    with pytest.raises(SystemExit):
        runner.command_line(["training", "--profile=lite"])
    assert "training with --profile fast leaves its model" in capsys.readouterr().err


# --- pictures


def test_picture_is_a_png_with_dark_on_light(edge: Any) -> None:
    image = np.zeros((2, 3), dtype=np.uint8)
    image[1, 2] = 200
    png = edge.picture(image, scale=2)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert png[16:24] == (6).to_bytes(4, "big") + (4).to_bytes(4, "big")
    begin = png.index(b"IDAT") + 4
    size = int.from_bytes(png[begin - 8 : begin - 4], "big")
    lines = zlib.decompress(png[begin : begin + size])
    assert lines == 2 * (b"\0" + bytes([255] * 6)) + 2 * (b"\0" + bytes([255] * 4 + [55] * 2))


def test_cells_of_a_table_are_text(edge: Any) -> None:
    assert (
        edge.table(["a"], [["<b>"], [2]])
        == "<table><tr><th>a</th></tr><tr><td>&lt;b&gt;</td></tr><tr><td>2</td></tr></table>"
    )


# --- completion of a run


def test_archive_of_a_run_has_no_foreign_files(edge: Any, tmp_path: Path, record: dict[str, Any]) -> None:
    folder = edge.open_run(tmp_path, RUN)
    edge.add_record(folder, record)
    (folder / "secret.txt").symlink_to("/etc/passwd")
    (folder / "-rf").write_text("x")
    os.mkfifo(folder / "pipe.txt")
    runner.finish(tmp_path, RUN, "ab" * 32)
    with tarfile.open(folder / "results.tar.gz") as tar:
        assert sorted(tar.getnames()) == ["thesis/time.txt", "time.txt", "timings.json"]
    assert edge.shared_data.complete_run(tmp_path, RUN)["run"] == RUN


@pytest.mark.parametrize("timings", ["{}", "[1]", '[{"notebook": "training"}]', "[" * 90_000])
def test_invalid_timings_are_rejected_with_their_path(edge: Any, tmp_path: Path, timings: str) -> None:
    (tmp_path / "timings.json").write_text(timings)
    with pytest.raises(edge.shared_data.Refused, match=re.escape(f"{tmp_path}/timings.json")):
        edge.read_timings(tmp_path)


# --- runs and records


def test_run_is_named_for_its_time_and_inputs(edge: Any) -> None:
    moment = datetime(2026, 11, 22, 2, 15, 30, tzinfo=UTC)
    assert edge.new_run("1a2b3c4d5e6f", moment) == "20261122T021530Z-1a2b3c4d"


@pytest.mark.parametrize(
    "name", ["one", "../../home", "/etc", "", "20261122T021530Z-1a2b3c4d/..", "99991122T021530Z-1a2b3c4d"]
)
def test_invalid_names_of_runs_are_rejected(edge: Any, tmp_path: Path, name: str) -> None:
    with pytest.raises(edge.shared_data.Refused, match=r"does not match|in the future"):
        edge.open_run(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


RUN = "20261122T021530Z-1a2b3c4d"


def test_complete_run_is_never_written_again(edge: Any, tmp_path: Path) -> None:
    folder = edge.open_run(tmp_path, RUN)
    assert edge.open_run(tmp_path, RUN) == folder
    (folder / "complete.json").write_text("{}")
    with pytest.raises(edge.InvalidFile, match="this run is complete"):
        edge.open_run(tmp_path, RUN)


def test_newest_run_has_timings(edge: Any, tmp_path: Path, record: dict[str, Any]) -> None:
    with pytest.raises(edge.InvalidFile, match="no run has timings yet"):
        edge.newest_run(tmp_path)
    edge.add_record(edge.open_run(tmp_path, "20261122T021530Z-1a2b3c4d"), record)
    edge.open_run(tmp_path, "20261123T000000Z-1a2b3c4d")
    assert edge.newest_run(tmp_path) == "20261122T021530Z-1a2b3c4d"


def test_records_are_kept_in_order_and_replaced_by_key(
    edge: Any, tmp_path: Path, record: dict[str, Any], prediction: dict[str, Any]
) -> None:
    edge.add_record(tmp_path, prediction)
    edge.add_record(tmp_path, record)
    edge.add_record(tmp_path, record | {"total": 26.0, "started": "2026-11-22T02:15:31Z"})
    records = json.loads((tmp_path / "timings.json").read_text())
    assert [(one["notebook"], one["total"]) for one in records] == [("training", 26.0), ("prediction", 5.23)]


def test_board_joins_a_run_and_all_records_are_kept(
    edge: Any, tmp_path: Path, record: dict[str, Any], prediction: dict[str, Any]
) -> None:
    old = edge.open_run(tmp_path, "20261122T021530Z-1a2b3c4d")
    edge.add_record(old, record)
    edge.add_record(old, prediction)
    edge.write_text(old / "thesis" / "prediction.json", "{}")
    edge.write_text(old / "report.html", "old")
    with pytest.raises(edge.InvalidFile, match="not complete"):
        edge.extend_run(tmp_path, "20261123T000000Z-1a2b3c4d", old.name)
    edge.write_text(old / "complete.json", json.dumps({"inputs_digest": "ab" * 32, "archive_sha256": "cd" * 32}))
    edge.write_text(old / "results.tar.gz", "")
    # What else may lie there: none of it is the run's.
    (old / "link.txt").symlink_to("/etc/passwd")
    (old / "odd name\n").write_text("x")
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}

    new = edge.extend_run(tmp_path, "20261123T000000Z-1a2b3c4d", old.name)
    late = {"host": "pi-05", "started": "2026-11-23T00:00:00Z", "thesis_clock": 9.0}
    edge.add_record(new, prediction | late)
    # A second board of the same run finds the first one's record there.
    edge.extend_run(tmp_path, new.name, old.name)
    assert [one["host"] for one in edge.read_timings(new)] == ["pi-02", "pi-03", "pi-05"]
    assert edge.read_timings(new)[:2] == edge.read_timings(old)
    assert (new / "thesis" / "prediction.json").read_text() == "{}"
    assert not (new / "link.txt").exists() and not (new / "odd name\n").exists()
    assert not (new / "report.html").exists() and not (new / "complete.json").exists()
    # The thesis's two figures stay those of the run's own boards.
    assert (new / "time.txt").read_text() == (old / "time.txt").read_text()
    assert before == {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}


def test_time_txt_has_the_form_of_the_thesis(
    edge: Any, tmp_path: Path, record: dict[str, Any], prediction: dict[str, Any]
) -> None:
    edge.add_record(tmp_path, record)
    assert (tmp_path / "time.txt").read_text() == "Training: 17.4"
    edge.add_record(tmp_path, prediction)
    fast = {"profile": "fast", "started": "2026-11-22T02:15:00Z"}
    edge.add_record(tmp_path, record | fast | {"thesis_clock": 3.25})
    # The thesis's own workload, although the other one ran first.
    assert (tmp_path / "time.txt").read_text() == "Training: 17.4\nNo training: 0.43"
    assert (tmp_path / "fast" / "time.txt").read_text() == "Training: 3.25"


def test_record_of_the_notebooks_matches_the_schema(edge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_NAME", "pi-02")
    clock = edge.PhaseClock()
    with clock.phase("fit"):
        clock.start_thesis_clock()
        time.sleep(0.001)
    clock.stop_thesis_clock()
    made = edge.make_record(
        clock,
        notebook="training",
        profile="fast",
        test_accuracy=np.float32(0.97768),
        tensorflow="2.21.0",
        inputs="0" * 64,
        weights="1" * 64,
    )
    edge.check_timings(json.loads(json.dumps([made])))
    assert made["host"] == "pi-02"
    assert made["test_accuracy"] == 0.9777


@pytest.mark.parametrize(
    "change",
    [
        {"phases": {"import": 1.0}},
        {"phases": {**dict.fromkeys(("import", "data", "build", "fit", "save", "load", "predict"), 1.0), "lunch": 1.0}},
        {"phases": {**dict.fromkeys(("import", "data", "build", "fit", "save", "load"), 1.0), "predict": -1.0}},
        {"total": 0},
        {"started": "2026-11-22T02:15:30+01:00"},
        {"started": "2026-11-22 02:15:30Z"},
        {"test_accuracy": 97.1},
        {"profile": "slow"},
        {"notebook": "report"},
        {"host": ""},
        {"inputs_digest": "AB" * 32},
        {"weights_sha256": "none"},
        {"hardware": "x" * 201},
        {"hardware": "Pi <b>4</b>"},
        {"hardware": "Pi\n4"},
        {"host": "pi-02\n"},
        {"host": "pi-02\u202e"},
        {"total": 10**400},
        {"thesis_clock": 2e9},
        {"tensorflow": "2.21.0\n"},
        {"tensorflow": "2.21.0 [x](y)"},
        {"started": "2026-11-22T02:15:30Z\n"},
        {"tensorflow": "unknown"},
        {"comment": "one more field"},
    ],
)
def test_schema_rejects(edge: Any, record: dict[str, Any], change: dict[str, Any]) -> None:
    edge.check_timings([record])
    with pytest.raises(jsonschema.ValidationError):
        edge.check_timings([record | change])


def test_no_field_of_a_record_is_optional(edge: Any, record: dict[str, Any]) -> None:
    for name in record:
        with pytest.raises(jsonschema.ValidationError, match=name):
            edge.check_timings([{key: value for key, value in record.items() if key != name}])


# --- hardware


@pytest.mark.parametrize(
    ("cpuinfo", "machine", "message"),
    [
        (
            "processor\t: 0\nBogoMIPS\t: 108.00\n\nRevision\t: c03114\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n",
            "aarch64",
            "Raspberry Pi 4 Model B Rev 1.4, aarch64, ",
        ),
        (
            "vendor_id\t: User Mode Linux\nmodel name\t: UML\nModel\t: Raspberry Pi 4 Model B Rev 1.4\n",
            "x86_64",
            "User Mode Linux (virtual board), x86_64, ",
        ),
        # QEMU with Debian's kernel, and a Jetson Orin with NVIDIA's.
        ("CPU implementer\t: 0x41\nCPU part\t: 0xd08\n", "aarch64", "Cortex-A72, aarch64, "),
        (
            "model name\t: ARMv8 Processor rev 1 (v8l)\nCPU implementer\t: 0x41\nCPU part\t: 0xd42\n",
            "aarch64",
            "Cortex-A78AE, aarch64, ",
        ),
        ("model name\t: X\nCPU implementer\t: 0x46\nCPU part\t: 0xd08\n", "aarch64", "X, aarch64, "),
        ("processor : 0\nmodel name : AMD EPYC\n", "x86_64", "AMD EPYC, x86_64, "),
        ("processor : 0\n", "riscv64", "unknown processor, riscv64, "),
        ("Model : Board <1>\u2122 |x|\n", "aarch64", "Board -1-- -x-, aarch64, "),
        (f"Model : {'x' * 300}\n", "aarch64", f"{'x' * 150}, aarch64, "),
    ],
)
def test_hardware_is_that_of_the_machine(edge: Any, tmp_path: Path, cpuinfo: str, machine: str, message: str) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert edge.hardware(tmp_path / "cpuinfo", machine).startswith(message)


# --- inputs


def test_every_input_changes_the_digest(edge: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in edge.INPUT_FILES:
        (tmp_path / name).write_bytes((NOTEBOOKS / name).read_bytes())
    monkeypatch.setattr(edge, "HERE", tmp_path)

    def digest(image: str = "tf:1", profiles: tuple[str, ...] = ("thesis", "fast")) -> str:
        return str(edge.inputs(image, profiles)["digest"])

    first = digest()
    assert digest() == first
    others = [digest(image="tf:2"), digest(profiles=("fast",))]
    for name in edge.INPUT_FILES:
        with (tmp_path / name).open("a") as file:
            file.write(" ")
        others.append(digest())
    assert len({first, *others}) == 3 + len(edge.INPUT_FILES)


def test_inputs_are_all_files_that_a_run_reads(edge: Any) -> None:
    there = {path.name for path in NOTEBOOKS.iterdir() if path.is_file() and path.suffix != ".md"}
    assert there == set(edge.INPUT_FILES)


def test_command_line_prints_them_without_numpy() -> None:
    code = (
        f"import sys; sys.modules['numpy'] = None; sys.path.insert(0, {str(NOTEBOOKS)!r}); "
        "sys.argv = ['x', '--image', 'tf:1', '--profile', 'fast']; "
        f"import runpy; runpy.run_path({str(NOTEBOOKS / 'edge_notebooks.py')!r}, run_name='__main__')"
    )
    printed = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert printed["profiles"] == ["fast"]
    assert len(printed["data"]) == 4
    assert len(printed["digest"]) == 64
