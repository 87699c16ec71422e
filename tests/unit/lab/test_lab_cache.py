import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from lab.cache import KEPT, Cache, digest_of

D1, D2 = "1" * 16, "2" * 16


def test_a_build_is_made_once(tmp_path):
    cache = Cache(tmp_path)
    made = []

    def make(folder):
        made.append(folder)
        (folder / "it").write_text("x")

    assert (cache.ensure("thing", D1, make) / "it").read_text() == "x"
    assert cache.ensure("thing", D1, make) == cache.path("thing", D1)
    assert len(made) == 1
    cache.ensure("thing", D1, make, again=True)
    assert len(made) == 2


def test_a_failed_build_leaves_nothing_that_counts(tmp_path):
    cache = Cache(tmp_path)

    def fail(folder):
        (folder / "half").write_text("x")
        raise RuntimeError("no space")

    with pytest.raises(RuntimeError, match="no space"):
        cache.ensure("thing", D1, fail)
    assert not cache.has("thing", D1)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_killed_build_is_swept_and_made_again(tmp_path):
    script = textwrap.dedent(
        f"""
        import pathlib, time
        from lab.cache import Cache
        def make(folder):
            (folder / "half").write_text("x")
            print("begun", flush=True)
            time.sleep(60)
        Cache(pathlib.Path({str(tmp_path)!r})).ensure("thing", {D1!r}, make)
        """
    )
    builder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert builder.stdout is not None and builder.stdout.readline() == b"begun\n"
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    cache = Cache(tmp_path)
    assert not cache.has("thing", D1)
    assert list(tmp_path.glob(".thing-*"))
    cache.ensure("thing", D1, lambda folder: (folder / "whole").touch())
    assert [path.name for path in cache.path("thing", D1).iterdir()] == ["whole"]
    assert not list(tmp_path.glob(".thing-*"))


def test_two_commands_do_not_build_the_same_thing_twice(tmp_path):
    script = textwrap.dedent(
        f"""
        import pathlib, time
        from lab.cache import Cache
        def make(folder):
            with open({str(tmp_path / "made")!r}, "a") as log:
                log.write("x")
            time.sleep(0.5)
        Cache(pathlib.Path({str(tmp_path)!r})).ensure("thing", {D1!r}, make)
        """
    )
    builders = [subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) for _ in range(3)]
    assert [builder.wait() for builder in builders] == [0, 0, 0]
    assert (tmp_path / "made").read_text() == "x"


def test_old_builds_go_and_other_kinds_stay(tmp_path):
    cache = Cache(tmp_path)
    cache.ensure("other-thing", D1, lambda folder: None)
    for number in range(KEPT + 2):
        place = cache.ensure("thing", f"{number:016x}", lambda folder: None)
        os.utime(place, (time.time() + number, time.time() + number))
    kept = sorted(path.name for path in tmp_path.glob("thing-*"))
    assert kept == [f"thing-{number:016x}" for number in range(2, KEPT + 2)]
    assert cache.has("other-thing", D1)


def test_the_last_duration_is_shown(tmp_path, capsys):
    cache = Cache(tmp_path)
    cache.ensure("thing", D1, lambda folder: time.sleep(0.6))
    cache.ensure("thing", D2, lambda folder: None)
    assert "took 1 s last time" in capsys.readouterr().err


def test_a_digest_follows_names_contents_modes_and_texts(tmp_path):
    def fresh(name):
        base = tmp_path / name
        (base / "in").mkdir(parents=True)
        (base / "in" / "a").write_text("1")
        return base

    base, twin = fresh("base"), fresh("twin")
    first = digest_of(["x", base / "in"], base)
    assert first == digest_of(["x", twin / "in"], twin)
    assert first != digest_of(["y", base / "in"], base)
    (twin / "in" / "a").chmod(0o755)
    executable = digest_of(["x", twin / "in"], twin)
    (twin / "in" / "a").write_text("2")
    changed = digest_of(["x", twin / "in"], twin)
    (twin / "in" / "a").rename(twin / "in" / "b")
    renamed = digest_of(["x", twin / "in"], twin)
    assert len({first, executable, changed, renamed}) == 4
    (twin / "in" / "__pycache__").mkdir()
    (twin / "in" / "__pycache__" / "a.pyc").write_text("x")
    assert renamed == digest_of(["x", twin / "in"], twin)


def test_a_build_of_another_kind_whose_name_begins_alike_is_left_alone(tmp_path):
    cache = Cache(tmp_path)
    other = tmp_path / f".thing-next-{D2}-{os.getpid()}"
    other.mkdir()
    cache.ensure("thing", D1, lambda folder: None)
    assert other.is_dir()
