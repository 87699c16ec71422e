"""Shared code of the three notebooks: phase clock, IDX files, timings records, atomic files on NFS.

TensorFlow, LiteRT and numpy are imported only where they are used: the control node of the cluster uses this module
too, and has none of them. Times are seconds, images are uint8 arrays (count, rows, columns).
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import gc
import hashlib
import html
import io
import json
import math
import os
import platform
import re
import shutil
import socket
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import shared_data

if TYPE_CHECKING:
    import numpy as np

#: The directory of this module, of the notebooks and of the two JSON files beside them.
HERE = Path(__file__).resolve().parent
#: The phases of a notebook, in the order in which they happen.
PHASES = ("import", "data", "build", "fit", "save", "load", "predict")
#: The thesis's own workload, the optimized one, and prediction without TensorFlow.
PROFILES = ("thesis", "fast", "lite")
#: What each profile predicts with: a file in a run, and the newest one below <books>/weights.
MODELS = {"thesis": "thesis/model.weights.h5", "fast": "fast/model.weights.h5", "lite": "fast/model.tflite"}
#: The profile whose training also leaves the model of `lite`, which has no training of its own.
LITE_SOURCE = "fast"
#: The thesis's measurements on two Raspberry Pi 4B, by its own clock (seconds).
THESIS_SECONDS = {"training": 46.1171, "prediction": 6.0485}
#: Mean and standard deviation of all pixels of MNIST's training images, in grey levels of 0 to 255.
MNIST_MEAN, MNIST_DEVIATION = 33.3, 78.6

# HDF5 locks the files it opens. Weights are only published by rename, so no lock is needed, and a lock on NFS can
# hang.
os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")


#: Errors of a full file system, or of one that has a quota.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
#: Maximum size of a file of a data set, and of weights (bytes).
DATA_BYTES = 64 * shared_data.MIB
WEIGHTS_BYTES = 512 * shared_data.MIB


class InvalidFile(shared_data.Refused):
    """A file is invalid; the message has its path, what was found and what to do."""


# --- clock ----------------------------------------------------------------------------------------------------------


class PhaseClock:
    """Wall-clock seconds of each phase of a notebook.

    >>> clock = PhaseClock()
    >>> with clock.phase("data"):
    ...     pass
    """

    def __init__(self) -> None:
        self.started = utc(datetime.now(UTC))
        self.seconds: dict[str, float | None] = dict.fromkeys(PHASES)
        self._thesis_began: float | None = None
        self.thesis_clock = 0.0

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what happens inside; a phase that fails is not recorded. ValueError for an unknown or repeated name."""
        if name not in self.seconds:
            raise ValueError(f"unknown phase {name!r}; phases are {', '.join(PHASES)}")
        if self.seconds[name] is not None:
            raise ValueError(f"phase {name!r} was already timed: use a new PhaseClock()")
        began = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - began, 4)

    def start_thesis_clock(self) -> None:
        """Start the thesis's clock: right before `model.compile`."""
        self._thesis_began = time.perf_counter()

    def stop_thesis_clock(self) -> float:
        """Stop it after `fit` or `load_weights`, and return its seconds."""
        if self._thesis_began is None:
            raise ValueError("start_thesis_clock() was not called")
        self.thesis_clock = round(time.perf_counter() - self._thesis_began, 4)
        return self.thesis_clock

    @property
    def total(self) -> float:
        """Sum of the phases so far (seconds)."""
        return round(sum(seconds or 0.0 for seconds in self.seconds.values()), 4)

    def rows(self) -> list[tuple[str, float]]:
        """Each phase that was timed and its seconds, and their sum: the rows of a table."""
        timed = [(phase, seconds) for phase, seconds in self.seconds.items() if seconds is not None]
        return [*timed, ("total", self.total)]


def utc(moment: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, for example 2026-11-22T02:15:30Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what TensorFlow's C++ parts write to standard error from being shown; errors are still raised."""
    sys.stderr.flush()
    kept = os.dup(2)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(silent)


@contextlib.contextmanager
def lean_import(*hidden: str) -> Iterator[None]:
    """Import TensorFlow quietly inside, without the optional packages named in `hidden`, and without pauses.

    Keras imports pandas and matplotlib whenever they are installed, only to accept data frames and to draw plots:
    about a third of the whole import. Hidden names import as if they were not installed; afterwards they are
    importable again. TensorFlow's start-up lines are written before any of its log levels apply.

    What an import creates stays. Python would search it for cyclic garbage, 190 times meanwhile (12 % of the import),
    and again while `learn` makes its graph (as much). So it does not search inside, nor later in what there is by then.
    """
    absent = [name for name in hidden if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]
    collecting = gc.isenabled()
    gc.disable()
    try:
        with quiet():
            yield
    finally:
        if collecting:
            gc.freeze()
            gc.enable()
        for name in absent:
            sys.modules.pop(name, None)


# --- data -----------------------------------------------------------------------------------------------------------


def dataset(name: str) -> dict[str, Any]:
    """The entry of a data set in datasets.json. InvalidFile lists the known ones."""
    known: dict[str, dict[str, Any]] = json.loads((HERE / "datasets.json").read_text())
    if name not in known:
        raise InvalidFile(f"datasets.json has no data set {name!r}; it has: {', '.join(sorted(known))}")
    return known[name]


def sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_idx(path: Path, digest: str | None = None) -> np.ndarray:
    """Read an IDX file of unsigned bytes, as MNIST comes in: images (count, rows, columns) or labels (count,).

    `digest` is the SHA-256 that the whole file must have. InvalidFile when the file is missing, has another
    digest, or is not an IDX file of bytes with the length that its header specifies.
    """
    import numpy as np

    try:
        content = shared_data.read(path.parent, path.name, DATA_BYTES)
    except OSError as error:
        raise InvalidFile(f"{path}: cannot be read ({error.strerror}): copy the data set there first") from error
    if digest is not None:
        found = hashlib.sha256(content).hexdigest()
        if found != digest:
            raise InvalidFile(f"{path}: SHA-256 is {found}, not {digest}: delete the file and download it again")
    # Header: two zero bytes, type (8: unsigned byte), number of dimensions, each dimension as big-endian 32-bit number.
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise InvalidFile(f"{path}: is not an IDX file of unsigned bytes (first bytes {content[:4].hex() or 'none'})")
    dimensions = content[3]
    start = 4 + 4 * dimensions
    shape = tuple(int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions))
    expected = start + int(np.prod(shape, dtype=np.int64))
    if dimensions == 0 or len(content) != expected:
        raise InvalidFile(f"{path}: has {len(content)} bytes, but its header specifies {expected} (shape {shape})")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def load_images(folder: Path, part: str, name: str = "mnist") -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of "train" or "t10k" (test) of a data set, verified by digest. Raises InvalidFile."""
    digests = dataset(name)["files"]
    images, labels = (
        read_idx(folder / file, digests[file]) for file in (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte")
    )
    if len(images) != len(labels):
        raise InvalidFile(f"{folder}: {len(images)} images of {part}, but {len(labels)} labels")
    return images, labels


def standardise(images: np.ndarray) -> np.ndarray:
    """Grey levels 0 to 255 as float32 numbers around zero with a standard deviation of about one: the input of `fast`.

    In 32 bits and one pass: 0.1 s for 60,000 images, where `normalize` takes seconds in 64 bits.
    """
    import numpy as np

    scaled = images.astype(np.float32)
    scaled -= np.float32(MNIST_MEAN)
    scaled /= np.float32(MNIST_DEVIATION)
    return scaled


def learn(model: Any, images: np.ndarray, labels: np.ndarray, *, epochs: int, batch: int, rate: float) -> list[float]:
    """Train a Keras model as `fast` does: Adam, its rate falling to nothing by a cosine. Returns each epoch's loss.

    An epoch is one call of TensorFlow, from grey levels, which `standardise` would hold in four times the memory.
    `fit` of Keras trains in a graph too, but takes longer to make it, to feed it and to apply Adam, which is one
    operation here.
    """
    import tensorflow as tf

    weights = [variable.value for variable in model.trainable_variables]
    means, squares = ([tf.Variable(tf.zeros_like(weight)) for weight in weights] for _ in range(2))
    beta1, beta2, epsilon = 0.9, 0.999, 1e-7
    steps = -(-len(images) // batch)

    @tf.function
    def epoch(images: Any, labels: Any, done: Any) -> Any:
        order = tf.random.shuffle(tf.range(len(images)))
        total = 0.0
        for step in tf.range(steps):
            some = order[step * batch : (step + 1) * batch]
            inputs = (tf.cast(tf.gather(images, some), tf.float32) - MNIST_MEAN) / MNIST_DEVIATION
            with tf.GradientTape() as tape:
                found = model(inputs)
                loss = tf.reduce_mean(tf.keras.losses.sparse_categorical_crossentropy(tf.gather(labels, some), found))
            now = tf.cast(done + step, tf.float32)
            shared = {
                "beta1": beta1,
                "beta2": beta2,
                "epsilon": epsilon,
                "beta1_power": beta1 ** (now + 1),
                "beta2_power": beta2 ** (now + 1),
                "lr": rate * (1 + tf.cos(math.pi * now / (epochs * steps))) / 2,
            }
            gradients = tape.gradient(loss, weights)
            for weight, mean, square, gradient in zip(weights, means, squares, gradients, strict=True):
                tf.raw_ops.ResourceApplyAdam(var=weight.handle, m=mean.handle, v=square.handle, grad=gradient, **shared)
            total += loss
        return total / steps

    images, labels = tf.constant(images), tf.constant(labels)
    return [float(epoch(images, labels, tf.constant(done * steps))) for done in range(epochs)]


class LiteModel:
    """A model of the profile `lite`, from a file that `save_lite` wrote; it is called with images, like one of Keras.

    LiteRT computes it: a tenth of TensorFlow's memory, and of the time to import it.
    """

    def __init__(self, file: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._network = Interpreter(model_content=file.read_bytes(), num_threads=len(os.sched_getaffinity(0)))
        self._input = self._network.get_input_details()[0]["index"]
        self._output = self._network.get_output_details()[0]["index"]

    def __call__(self, images: np.ndarray, batch: int = 1000) -> np.ndarray:
        """Probabilities (count, digits) of images; `batch` of them at a time are scaled, which bounds the memory."""
        import numpy as np

        parts = []
        for start in range(0, len(images), batch):
            some = standardise(images[start : start + batch])
            self._network.resize_tensor_input(self._input, some.shape)
            self._network.allocate_tensors()
            self._network.set_tensor(self._input, some)
            self._network.invoke()
            parts.append(self._network.get_tensor(self._output))
        return np.concatenate(parts)


# --- pictures -------------------------------------------------------------------------------------------------------


def table(heads: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Rows as a table of HTML. Without pandas, which a board that only predicts does not have."""
    lines = [f"<tr>{''.join(f'<th>{html.escape(str(head))}</th>' for head in heads)}</tr>"]
    for row in rows:
        lines.append(f"<tr>{''.join(f'<td>{html.escape(str(cell))}</td>' for cell in row)}</tr>")
    return f"<table>{''.join(lines)}</table>"


def picture(image: np.ndarray, scale: int = 8) -> bytes:
    """A PNG of a grey image, dark on light, `scale` times as large. Without matplotlib, as `table` without pandas."""
    pixels = 255 - image.repeat(scale, axis=0).repeat(scale, axis=1)
    rows, columns = pixels.shape

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return len(content).to_bytes(4, "big") + kind + content + checksum.to_bytes(4, "big")

    # 8 bits a pixel, grey; each row begins with the number of its filter: none.
    header = columns.to_bytes(4, "big") + rows.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    lines = b"".join(b"\0" + row.tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


# --- files ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def publish(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what was written there becomes `path` at the end, by rename.

    Readers on any machine see the old file or the whole new one. When the block fails the old file stays, and the
    temporary one is removed. The temporary name keeps the suffix of the name, which Keras checks. On a full disk the
    error names `path`: Python's own has no name when a write fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{socket.gethostname()}-{os.getpid()}-{path.name}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with publish(path) as temporary:
        temporary.write_text(text)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file atomically."""
    with publish(target) as temporary:
        shutil.copyfile(source, temporary)


def save_weights(model: Any, run: str, *paths: Path) -> str:
    """Save the weights of a Keras model to each path, each published atomically; return their SHA-256.

    Beside each, `model.weights.json` records the digest and the run, for `trained_weights`. They are written once to
    local storage: HDF5 writes many small pieces, which is slow on NFS.
    """
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "model.weights.h5"
        model.save_weights(local)
        return _publish_model(local, run, paths)


def save_lite(model: Any, run: str, *paths: Path) -> str:
    """Convert a Keras model to the one of the profile `lite`, published with its record as `save_weights` does."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "model.tflite"
        # Keras prints the signature of the model that it exports.
        with quiet(), contextlib.redirect_stdout(io.StringIO()):
            local.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
        return _publish_model(local, run, paths)


def _publish_model(local: Path, run: str, paths: Iterable[Path]) -> str:
    digest = sha256(local)
    for path in paths:
        copy_file(local, path)
        write_text(path.with_name(_record(path.name)), json.dumps({"sha256": digest, "run": run}) + "\n")
    return digest


def _record(name: str) -> str:
    """The file beside weights that records their digest: model.weights.json, model.tflite.json."""
    return name.removesuffix(".h5") + ".json"


def _read_weights(root: Path, name: str, local: Path) -> tuple[str, str]:
    """Copy weights to `local`; the digest of what was copied, and the one that training recorded. Raises Refused."""
    record = _record(name)
    found = hashlib.sha256()
    with local.open("wb") as copy:
        for block in shared_data.chunks(root, name, WEIGHTS_BYTES):
            found.update(block)
            copy.write(block)
    recorded = shared_data.read_json(root, record)
    wanted = recorded.get("sha256") if isinstance(recorded, dict) else None
    return found.hexdigest(), shared_data.text(wanted, shared_data.DIGEST, f"{root / record}: sha256")


@contextlib.contextmanager
def trained_weights(books: Path, path: Path, patience: float = 5.0) -> Iterator[tuple[Path, str]]:
    """A private copy of a file of MODELS, and its SHA-256: the one that training recorded beside it.

    The private copy is verified and used, so no other process can change it in between. While weights are being
    published their record is briefly that of others, so a difference is checked again for `patience` seconds.
    InvalidFile reports a file that training did not write, and what to do.
    """
    root, name = (books, str(path.relative_to(books))) if path.is_relative_to(books) else (path.parent, path.name)
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / path.name
        until = time.monotonic() + patience
        while True:
            try:
                found, recorded = _read_weights(root, name, local)
            except FileNotFoundError as error:
                raise InvalidFile(
                    f"{path}: there are no weights, or no record of them beside it ({error.filename}): execute "
                    f"training.ipynb first"
                ) from None
            if found == recorded:
                break
            if time.monotonic() > until:
                raise InvalidFile(
                    f"{path}: SHA-256 is {found}, but training recorded {recorded}: these are not the weights of "
                    f"training. Execute training.ipynb again to replace them"
                )
            time.sleep(0.2)
        yield local, found


# --- runs and records -----------------------------------------------------------------------------------------------


new_run = shared_data.new_run


def newest_run(books: Path) -> str:
    """Name of the newest run that has timings. InvalidFile when there is none."""
    for name in shared_data.names(books, "runs", shared_data.RUN_NAME, shared_data.RUNS):
        timings = f"runs/{name}/timings.json"
        with (
            contextlib.suppress(OSError, shared_data.Refused),
            shared_data.opened(books, timings, shared_data.JSON_BYTES),
        ):
            return shared_data.run_name(name)
    raise InvalidFile(f"{books / 'runs'}: no run has timings yet: execute training.ipynb first")


def open_run(books: Path, run: str) -> Path:
    """Directory of a run, created if new. InvalidFile when the run is complete: it is never written again.

    Raises Refused for an invalid name.
    """
    folder = books / "runs" / shared_data.run_name(run)
    if (folder / "complete.json").exists():
        raise InvalidFile(f"{folder}: this run is complete: choose another name for a new run")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def extend_run(books: Path, run: str, base: str) -> Path:
    """Directory of a run that starts with the content of the complete run `base`, so that a record can be added.

    A complete run is never written again: the new one replaces it, the old one is not changed. Its archive and its
    report are written again at the end. InvalidFile when `base` is not complete.
    """
    source = f"runs/{shared_data.run_name(base)}"
    if shared_data.complete_run(books, base) is None:
        raise InvalidFile(f"{books / source}: this run is not complete, so nothing can be added to it")
    folder = open_run(books, run)
    left_out = {"complete.json", shared_data.ARCHIVE, "timings.json", "report.ipynb", "report.html"}
    # timings.json comes last: it marks a complete copy.
    if not (folder / "timings.json").exists():
        wanted = [name for name in shared_data.files(books, source) if name not in left_out]
        for name in [*wanted, "timings.json"]:
            with publish(folder / name) as temporary, temporary.open("wb") as copy:
                for block in shared_data.chunks(books, f"{source}/{name}", WEIGHTS_BYTES):
                    copy.write(block)
    return folder


def read_timings(folder: Path) -> list[dict[str, Any]]:
    """Records of a run, oldest first; none without timings.json. InvalidFile if they do not match the schema."""
    import jsonschema

    try:
        records: list[dict[str, Any]] = shared_data.read_json(folder, "timings.json")
        check_timings(records)
    except FileNotFoundError:
        return []
    except jsonschema.ValidationError as error:
        raise InvalidFile(
            f"{folder / 'timings.json'}: does not match timings.schema.json at {error.json_path}: "
            f"{shared_data.printable(error.message, 200)}; delete this run's directory"
        ) from None
    return records


def read_digits(folder: Path) -> dict[str, dict[str, Any]]:
    """Each profile's prediction for the image that is shown: image, digit, label, ten probabilities.

    InvalidFile for a file with other content.
    """
    digits = {}
    for profile in PROFILES:
        try:
            shown = shared_data.read_json(folder, f"{profile}/prediction.json")
        except FileNotFoundError:
            continue
        what = f"{folder / profile}/prediction.json"
        if not isinstance(shown, dict) or not isinstance(shown.get("probabilities"), list):
            raise InvalidFile(f"{what}: is not the output of prediction.ipynb: execute it again")
        for key, most in (("image", 1e6), ("digit", 9), ("label", 9)):
            shown[key] = int(shared_data.number(shown.get(key), f"{what}: {key}", most))
        shown["probabilities"] = [shared_data.number(one, f"{what}: probability", 1) for one in shown["probabilities"]]
        digits[profile] = shown
    return digits


def check_timings(records: Any) -> None:
    """Raise jsonschema.ValidationError when records do not match timings.schema.json."""
    import jsonschema

    jsonschema.validate(records, json.loads((HERE / "timings.schema.json").read_text()))


def add_record(folder: Path, record: dict[str, Any]) -> None:
    """Add a record to timings.json of a run and update time.txt.

    A record of the same notebook, profile and host is replaced: its notebook was executed again in the same run.
    """
    key = (record["notebook"], record["profile"], record["host"])
    others = [old for old in read_timings(folder) if (old["notebook"], old["profile"], old["host"]) != key]
    records = sorted([*others, record], key=lambda one: str(one["started"]))
    check_timings(records)
    write_text(folder / "timings.json", json.dumps(records, indent=2) + "\n")
    profiles = list(dict.fromkeys(one["profile"] for one in records))
    for profile in profiles:
        write_text(folder / profile / "time.txt", time_text(records, profile))
    # The thesis has one time.txt: that of its own workload, if it was executed.
    write_text(folder / "time.txt", time_text(records, "thesis" if "thesis" in profiles else profiles[0]))


def time_text(records: Iterable[dict[str, Any]], profile: str) -> str:
    """The thesis's time.txt of one profile: `Training: <s>`, newline, `No training: <s>`, and no newline at the end.

    Of several boards, the prediction of the first one: the others joined the run later.
    """
    seconds: dict[str, float] = {}
    for one in records:
        if one["profile"] == profile:
            seconds.setdefault(one["notebook"], one["thesis_clock"])
    titles = {"training": "Training", "prediction": "No training"}
    return "\n".join(f"{title}: {seconds[name]}" for name, title in titles.items() if name in seconds)


def make_record(
    clock: PhaseClock,
    *,
    notebook: str,
    profile: str,
    test_accuracy: float,
    tensorflow: str,
    inputs: str,
    weights: str,
) -> dict[str, Any]:
    """One record of timings.json, as defined by timings.schema.json.

    `tensorflow` is its version or that of LiteRT, `weights` the SHA-256 of the file of MODELS.
    """
    return {
        "notebook": notebook,
        "profile": profile,
        "host": host(),
        "started": clock.started,
        "phases": clock.seconds,
        "total": clock.total,
        "thesis_clock": clock.thesis_clock,
        "test_accuracy": round(float(test_accuracy), 4),
        "tensorflow": tensorflow,
        "hardware": hardware(),
        "inputs_digest": inputs,
        "weights_sha256": weights,
    }


def host() -> str:
    """Name of the cluster node this runs on (NODE_NAME, which a pod gets from Kubernetes), else of the machine."""
    return os.environ.get("NODE_NAME") or socket.gethostname()


#: Processors of Raspberry Pis and Jetsons by the "CPU part" of /proc/cpuinfo, where ARM Ltd. is the implementer: most
#: kernels say no name for them. From util-linux's sys-utils/lscpu-arm.c.
ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd0b": "Cortex-A76",
    "0xd42": "Cortex-A78AE",
}


def hardware(cpuinfo: Path = Path("/proc/cpuinfo"), machine: str = platform.machine()) -> str:
    """The machine's hardware, for example "Raspberry Pi 4 Model B Rev 1.4, aarch64, 4 CPUs".

    Only a machine with an ARM processor is reported as a Raspberry Pi: the timings of a virtual board must not be
    mistaken for a real one's, whatever its files contain. Where the kernel names no board it is the processor's name:
    "Cortex-A72, aarch64, 2 CPUs".
    """
    facts: dict[str, str] = {}
    for line in cpuinfo.read_text().splitlines():
        key, colon, value = line.partition(":")
        if colon:
            facts[key.strip()] = value.strip()
    processor = facts.get("model name", "")
    if facts.get("CPU implementer") == "0x41":
        processor = ARM_PARTS.get(facts.get("CPU part", ""), processor)
    if facts.get("vendor_id") == "User Mode Linux":
        processor = "User Mode Linux (virtual board)"
    cpus = len(os.sched_getaffinity(0))
    board = facts.get("Model") if machine.startswith(("aarch", "arm")) else None
    # Firmware and kernel may write what the schema of timings does not take.
    named = re.sub(r"[^0-9A-Za-z_ (),./:;@+-]", "-", (board or processor)[:150]) or "unknown processor"
    return f"{named}, {machine}, {cpus} CPU{'' if cpus == 1 else 's'}"


#: Files beside this module that determine a run.
INPUT_FILES = (
    "datasets.json",
    "edge_notebooks.py",
    "prediction.ipynb",
    "report.ipynb",
    "run.py",
    "shared_data.py",
    "timings.schema.json",
    "training.ipynb",
)


def inputs(image: str = "", profiles: Iterable[str] = (), data: str = "mnist") -> dict[str, Any]:
    """Everything that determines the outcome of a run, and one digest over it.

    `image` is the reference of the container image, `profiles` those that are executed. Keys of the result: files and
    data (name to SHA-256), image, profiles, digest (64 hexadecimal digits).
    """
    parts: dict[str, Any] = {
        "files": {name: sha256(HERE / name) for name in INPUT_FILES},
        "data": dataset(data)["files"],
        "image": image,
        "profiles": list(profiles),
    }
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()
    return {**parts, "digest": hashlib.sha256(canonical).hexdigest()}


def main(arguments: list[str] | None = None) -> int:
    """Print the inputs of a run as JSON: `python edge_notebooks.py --image REF --profile thesis --profile fast`.

    The thesis's figures are beside them, for who shows a run.
    """
    parser = argparse.ArgumentParser(description="Print the inputs of a run, with one digest over them.")
    parser.add_argument("--image", default="", help="reference of the container image")
    parser.add_argument("--profile", action="append", default=[], help="a profile that is executed; may be repeated")
    parser.add_argument("--data", default="mnist", help="a data set of datasets.json")
    options = parser.parse_args(arguments)
    found = inputs(options.image, options.profile, options.data)
    print(json.dumps({**found, "thesis_seconds": THESIS_SECONDS}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
