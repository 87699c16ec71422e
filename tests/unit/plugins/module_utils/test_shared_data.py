"""Files that an NFS client has delegated to it are read a moment later."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils import shared_data

# A lease is what the NFS server takes for a delegation; a signal says that another process wants the file.
HOLDER = """
import fcntl, os, signal, sys, time
file, seconds = os.open(sys.argv[1], os.O_RDWR), float(sys.argv[2])
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("holds it", flush=True)
signal.sigwait([signal.SIGIO])
time.sleep(seconds)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
"""


@pytest.fixture
def delegated(tmp_path: Path) -> Iterator[Callable[[float], AbstractContextManager[Path]]]:
    """A context in which a file is held, and given back some seconds after another process wants it."""
    (tmp_path / "complete.json").write_text("{}")

    @contextmanager
    def holding(seconds: float) -> Iterator[Path]:
        argv = [sys.executable, "-c", HOLDER, str(tmp_path / "complete.json"), str(seconds)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stdout.readline() == "holds it\n"
            try:
                yield tmp_path
            finally:
                process.kill()

    yield holding


def test_a_file_that_a_client_has_just_written_is_read(
    delegated: Callable[[float], AbstractContextManager[Path]],
) -> None:
    with delegated(0.3) as root:
        assert shared_data.read(root, "complete.json", 100) == b"{}"


def test_a_file_that_is_not_given_back_is_refused(
    delegated: Callable[[float], AbstractContextManager[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_data, "DELEGATION_S", shared_data._waited + 2)
    with delegated(30) as root:
        for least in (2, 0):  # the second time nothing is left to wait
            began = time.monotonic()
            with pytest.raises(
                shared_data.Refused, match=r"complete.json: cannot be read \(an NFS client has it delegated"
            ):
                shared_data.read(root, "complete.json", 100)
            assert least <= time.monotonic() - began < least + 1.5


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("1" * 301, "a number has 301 digits"),
        ("-" + "1" * 5000, "a number has 5,001 digits"),
        ("1e400", "1e400 is too large a number"),
        ("NaN", "NaN is no number of JSON"),
        ("-Infinity", "-Infinity is no number of JSON"),
    ],
)
def test_numbers_of_json_have_a_place_in_a_float(document: str, reason: str) -> None:
    with pytest.raises(shared_data.Refused, match=f"^x: is not JSON \\({reason}\\)$"):
        shared_data.parse_json(f'{{"a": [{document}]}}', "x")
    assert shared_data.parse_json('{"a": [1, 1.5, -1e300]}', "x") == {"a": [1, 1.5, -1e300]}
    assert float(shared_data.parse_json("9" * 300, "x")) == 1e300


@pytest.mark.parametrize("value", [10**400, -1, float("nan"), float("inf"), True, "1", None, 1_000_000_001])
def test_what_is_no_number_of_seconds_is_refused(value: object) -> None:
    with pytest.raises(shared_data.Refused, match=r"^seconds is .*, not a number from 0 to 1e\+09$"):
        shared_data.number(value, "seconds")
    assert shared_data.number(10**9, "seconds") == 1e9
