"""Parts of the build and of the transport that can be tested without a builder or a board."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.container_image import archive, build, send
from ansible_collections.edge_ai.cluster.plugins.module_utils.container_image.archive import Archive
from ansible_collections.edge_ai.cluster.plugins.module_utils.container_image.base import (
    find_mirror,
    runs_here,
    source_lines,
    validity_options,
)
from ansible_collections.edge_ai.cluster.plugins.module_utils.container_image.inputs import ARCHITECTURES, ImageError
from ansible_collections.edge_ai.cluster.plugins.module_utils.container_image.layers import GLIBC, Layers
from ansible_collections.edge_ai.cluster.plugins.module_utils.container_image.progress import Progress, run

DEB822 = """\
# Types: deb
# URIs: http://old.example.org/debian
Types: deb
# http://snapshot.example.org/debian
URIs: http://mirror.example.org/debian/
Suites: bookworm bookworm-updates

Types: deb
URIs: http://security.example.org/debian-security
Suites: bookworm-security
"""


@pytest.mark.parametrize(
    ("sources", "mirror"),
    [
        ({"debian.sources": DEB822}, "http://mirror.example.org/debian"),
        ({"debian.sources": DEB822.replace("Types: deb", "Types: deb\nEnabled: no")}, ""),
        (
            {"sources.list": "deb [arch=amd64 signed-by=/x] https://m.example.org/debian trixie main\n"},
            "https://m.example.org/debian",
        ),
        (
            {"sources.list": "#deb http://m.example.org/debian t main\ndeb-src http://m.example.org/debian t main\n"},
            "",
        ),
        ({"node.list": "deb http://other.example.org/node_20.x nodistro main\n"}, ""),
        ({}, ""),
    ],
)
def test_mirror_is_the_machines_own(sources: dict[str, str], mirror: str) -> None:
    assert find_mirror(sources) == mirror


def test_base_is_made_with_security_updates() -> None:
    lines = source_lines("trixie", "", "", {"debian.sources": DEB822})
    assert [line.partition("] ")[2] for line in lines] == [
        "http://mirror.example.org/debian trixie main",
        "http://security.example.org/debian-security trixie-security main",
    ]
    given = source_lines("trixie", "http://a.example.org/debian/", "http://b.example.org/sec", {})
    assert [line.partition("] ")[2] for line in given] == [
        "http://a.example.org/debian trixie main",
        "http://b.example.org/sec trixie-security main",
    ]


def test_settings_about_old_lists_are_taken_over() -> None:
    dump = 'APT::Architecture "amd64";\nAcquire::Check-Valid-Until "false";\nAcquire::http::Proxy "http://p.example.org";\n'
    assert validity_options(dump) == ['Acquire::Check-Valid-Until "false"']


def test_archives_that_are_not_known_are_named_all_at_once() -> None:
    with pytest.raises(ImageError) as error:
        source_lines("trixie", "", "", {})
    assert "container_image_base_mirror: empty" in str(error.value)
    assert "container_image_base_security_mirror: empty" in str(error.value)


def test_missing_security_archive_is_no_silent_skip() -> None:
    with pytest.raises(ImageError, match=r"container_image_base_security_mirror: empty.*/debian-security"):
        source_lines("trixie", "http://a.example.org/debian", "", {"debian.sources": DEB822.split("\n\n")[0]})


MACHINES = {"amd64": 62, "arm64": 183, "riscv64": 243}
LIBC = "usr/lib/aarch64-linux-gnu/libc.so.6"


def elf(machine: str, more: bytes = b"") -> bytes:
    """The beginning of a program: 64 bits, little-endian, a shared object."""
    return (
        b"\x7fELF\x02\x01\x01" + bytes(9) + (3).to_bytes(2, "little") + MACHINES[machine].to_bytes(2, "little") + more
    )


def glibc(version: str) -> bytes:
    return b"\0GNU C Library (Debian GLIBC %b-12+deb13u5) stable release version %b.\n" % ((version.encode(),) * 2)


def tar(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive_:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive_.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


BASE = {"usr/bin/python3.13": elf("arm64"), LIBC: elf("arm64", glibc("2.41")), "etc/passwd": b"root"}
PACKAGES = {"opt/venv/lib/python3.13/site-packages/x.so": elf("arm64"), "opt/venv/x.py": b"ELF"}


def make_layout(
    folder: Path, base: dict[str, bytes] = BASE, packages: dict[str, bytes] = PACKAGES, platform: str = "linux/arm64"
) -> Path:
    """A small OCI image layout with a layer that is not compressed and one with gzip."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(content: bytes, media_type: str) -> dict[str, object]:
        name = hashlib.sha256(content).hexdigest()
        (blobs / name).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(content)}

    prefix = "application/vnd.oci.image"
    layers = [
        blob(tar(base), f"{prefix}.layer.v1.tar"),
        blob(gzip.compress(tar(packages)), f"{prefix}.layer.v1.tar+gzip"),
    ]
    system, _, arch = platform.partition("/")
    config = blob(json.dumps({"os": system, "architecture": arch}).encode(), f"{prefix}.config.v1+json")
    manifest = json.dumps({"schemaVersion": 2, "config": config, "layers": layers}).encode()
    entry = blob(manifest, f"{prefix}.manifest.v1+json")
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return make_layout(tmp_path / "layout")


REFERENCE = "localhost/edge-ai/tensorflow-jupyter:0123456789ab"


def test_archive_names_the_image_for_containerd(tmp_path: Path, layout: Path) -> None:
    known = archive.pack(layout, tmp_path / "image.tar", REFERENCE, "arm64")
    assert known.unpacked_size == len(tar(BASE)) + len(tar(PACKAGES))
    with tarfile.open(known.path) as opened:
        index = opened.extractfile("index.json")
        assert index
        entry = json.load(index)["manifests"][0]
    assert entry["annotations"]["io.containerd.image.name"] == REFERENCE
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "0123456789ab"
    assert known.manifest_digest == entry["digest"]


def test_incomplete_archive_of_a_killed_run_is_ignored(tmp_path: Path, layout: Path) -> None:
    path = tmp_path / "image.tar"
    assert archive.load(path) is None
    known = archive.pack(layout, path, REFERENCE, "arm64")
    assert archive.load(path) == known
    path.write_bytes(path.read_bytes()[:-1])
    assert archive.load(path) is None


FOREIGN = {"opt/venv/lib/x.so": elf("amd64")}


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"platform": "linux/amd64"}, "an image for linux/arm64 was to be built, but it is for linux/amd64: give cont"),
        ({"platform": ""}, "an image for linux/arm64 was to be built, but it is for /: "),
        # What buildah 1.28 makes of a base that it has in its store for the other architecture.
        ({"base": BASE | {"usr/bin/python3.13": elf("amd64")}}, "has a program for amd64, /usr/bin/python3.13: "),
        ({"packages": PACKAGES | FOREIGN}, "the image for linux/arm64 has a program for amd64, /opt/venv/lib/x.so: "),
        ({"packages": {"./x": elf("riscv64")}}, "has a program for ELF machine 243, /x: "),
        ({"base": {"lib/ld-musl-aarch64.so.1": elf("arm64")}}, "no GNU C library (libc.so.6), and TensorFlow's pack"),
        (
            {"base": BASE | {LIBC: elf("arm64", glibc("2.27"))}},
            "the image's C library is 2.27, and TensorFlow's packag",
        ),
    ],
)
def test_image_that_would_not_run_on_a_board_is_not_sent(tmp_path: Path, changed: dict[str, Any], problem: str) -> None:
    layout = make_layout(tmp_path / "layout", **changed)
    with pytest.raises(ImageError, match=re.escape(problem)):
        archive.pack(layout, tmp_path / "image.tar", REFERENCE, "arm64")
    assert archive.load(tmp_path / "image.tar") is None


def test_layer_that_is_cut_off_is_reported(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    layer.write_bytes(gzip.compress(tar(BASE))[:-9])
    with pytest.raises((ImageError, tarfile.ReadError)):
        Layers().read(layer, "application/vnd.oci.image.layer.v1.tar+gzip")


def test_c_library_that_is_needed_is_that_of_the_packages() -> None:
    newest = max(tuple(map(int, name.split("_")[1:])) for name in build.MANYLINUX if "_" in name)
    assert newest == GLIBC


def test_own_programs_run_here_and_those_of_no_machine_do_not() -> None:
    assert runs_here(ARCHITECTURES[os.uname().machine])
    assert not runs_here("vax")


def test_three_archives_of_each_image_are_kept(tmp_path: Path) -> None:
    for age, (name, number) in enumerate(product(("localhost/one", "localhost/two"), range(5))):
        path = tmp_path / f"{'ab'[name == 'localhost/two']}{number:011d}-amd64.tar"
        path.write_bytes(b"x")
        os.utime(path, (age, age))
        archive.sidecar(path).write_text(json.dumps(vars(Archive(str(path), f"{name}:{number}", "", 1, 1))))
    build._remove_old(build.Settings(tmp_path, "localhost/one"), "amd64")
    left = sorted(path.name[:12] for path in tmp_path.glob("*.tar"))
    assert left == [f"a{number:011d}" for number in (2, 3, 4)] + [f"b{number:011d}" for number in range(5)]
    assert len(list(tmp_path.glob("*.json"))) == 8


NODE = {"connection": "local", "user": "root"}


def known(tmp_path: Path) -> Archive:
    path = tmp_path / "image.tar"
    path.write_bytes(b"z" * 4000)
    return Archive(str(path), REFERENCE, "sha256:" + "0" * 64, 4000, 9000)


def test_node_without_k3s_is_reported(tmp_path: Path) -> None:
    script = send.remote_script(known(tmp_path), "/usr/local/bin/k3s", str(tmp_path / "none"))
    with pytest.raises(ImageError, match="k3s is not installed on this node"):
        send.send(known(tmp_path), NODE, script, 20, print)


def test_node_without_space_is_reported_with_what_is_needed(tmp_path: Path) -> None:
    large = replace(known(tmp_path), unpacked_size=10**18)
    script = send.remote_script(large, "/usr/local/bin/k3s", str(tmp_path))
    with pytest.raises(ImageError, match=r"MiB free, 9\d+ needed: free some space"):
        send.send(large, NODE, script, 20, print)


def test_archive_streams_whole(tmp_path: Path) -> None:
    send.send(known(tmp_path), NODE, f"cat > {tmp_path}/arrived", 20, print)
    assert (tmp_path / "arrived").read_bytes() == b"z" * 4000


def test_node_that_hangs_times_out(tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(ImageError, match="container_image_import_timeout"):
        send.send(known(tmp_path), NODE, "echo unpacking; exec sleep 30", 0.5, print)
    assert time.monotonic() - begun < 10


def test_of_a_long_output_of_a_node_the_end_is_shown(tmp_path: Path) -> None:
    script = "cat >/dev/null; head -c 1000000 /dev/zero | tr '\\0' x; echo; echo no space left; exit 1"
    with pytest.raises(ImageError, match=r"xxx\nno space left$") as error:
        send.send(known(tmp_path), NODE, script, 20, print)
    assert len(str(error.value)) <= send.LONGEST


def test_command_that_fails_shows_the_end_of_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no space left"):
        run(["sh", "-c", "echo no space left; exit 3"], tmp_path / "log", Progress(tmp_path), str, 20)


def test_a_step_that_took_no_time_shows_it_the_next_time(tmp_path: Path) -> None:
    progress = Progress(tmp_path)
    for _ in range(2):
        with progress.step("write", "Writing"):
            pass
    assert progress.log.read_text().splitlines()[::2] == ["Writing", "Writing (last time 0 s)"]


def test_second_build_waits_and_shows_the_first_ones_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress(tmp_path)
    inside = threading.Event()

    def first() -> None:
        with build.locked(tmp_path, progress):
            progress.show("first is at work")
            inside.set()
            time.sleep(0.5)
            progress.show("first has finished")

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait()
    capsys.readouterr()
    with build.locked(tmp_path, Progress(tmp_path)):
        assert not thread.is_alive() or thread.join() is None
    output = capsys.readouterr().out
    assert "another run is building" in output
    assert "first is at work" in output


def test_durations_are_shown_the_next_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(tmp_path).step("one", "one thing is done"):
        time.sleep(0.1)
    with Progress(tmp_path).step("one", "one thing is done"):
        pass
    # A busy machine may take a second.
    assert re.search(r"one thing is done \(last time \d+ s\)", capsys.readouterr().out)


def test_reference_on_the_command_line_is_the_lookups(docker: Path, action: ModuleType) -> None:
    output = subprocess.run(
        [sys.executable, "-m", action.PROGRAM, "ref", f"--context={docker}", "--name=localhost/x"],
        capture_output=True,
        text=True,
        check=True,
        cwd=action.COLLECTIONS,
    ).stdout.strip()
    assert output.startswith("localhost/x:")
