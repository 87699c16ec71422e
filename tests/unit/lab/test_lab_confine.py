"""The confinement of a guest, tried with a shell in the kernel's place; needs root, as the lab does."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab import settings

UID = 1_999_999_999
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make mounts and change the user")


def bundle(folder: Path) -> Path:
    """A shell with the libraries that it needs, as the kernel has them, in a folder of its own."""
    shell = Path(shutil.copy(os.path.realpath("/bin/sh"), folder / "sh"))
    libc = folder / "libc"
    libc.mkdir()
    for name in ("libc.so.6", "ld-linux-x86-64.so.2"):
        shutil.copy(f"/lib/x86_64-linux-gnu/{name}", libc)
    loader = libc / "ld-linux-x86-64.so.2"
    subprocess.run(["patchelf", "--set-interpreter", loader, "--set-rpath", libc, shell], check=True)
    return shell


@pytest.fixture
def confined(tmp_path):
    """Runs a script confined; its card is `card.img` and its folder `uml`."""
    for name in ("kernel", "uml", "root"):
        (tmp_path / name).mkdir()
    (tmp_path / "card.img").write_text("card\n")
    shell = bundle(tmp_path / "kernel")

    def run(script, *options):
        return subprocess.run(
            [
                *(sys.executable, "-I", settings.PACKAGE / "confine.py", f"--root={tmp_path}/root"),
                *(f"--kernel={shell}", f"--card={tmp_path}/card.img", f"--uml-dir={tmp_path}/uml"),
                *(f"--uid={UID}", "--memory=16", *options, "--", "-c", script),
            ],
            capture_output=True,
            text=True,
        )

    return run


def test_the_card_is_written_and_the_rest_of_this_machine_is_not_there(confined, tmp_path):
    done = confined("read line < /card.img; echo new > /card.img; echo x > /uml/pid; echo $line /*")
    assert done.stdout.split()[0] == "card", done
    assert set(done.stdout.split()[1:]) == {"/card.img", "/dev", "/lib", "/proc", f"/{tmp_path.parts[1]}", "/uml"}
    assert (tmp_path / "card.img").read_text() == "new\n"
    assert (tmp_path / "card.img").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "uml/pid").stat().st_uid == UID
    assert list((tmp_path / "root").iterdir()) == []


@pytest.mark.parametrize("place", ["/new", "/dev/new", "/proc/new", "/lib/new", "$0"])
def test_nothing_else_is_written(confined, place):
    done = confined(f"echo x > {place}")
    assert done.returncode != 0
    assert "Permission denied" in done.stderr or "Read-only" in done.stderr or "cannot create" in done.stderr


def test_memory_is_a_file_of_limited_size(confined):
    assert confined("echo x > /dev/shm/memory && read line < /dev/shm/memory && echo $line").stdout == "x\n"


def capabilities(done):
    """The five sets of /proc/self/status, without their names."""
    return {line.split()[1].lstrip("0") for line in done.stdout.splitlines() if line.startswith("Cap")}


def test_only_a_guest_that_sends_by_itself_may_open_raw_sockets(confined, tmp_path):
    shown = [f"--read={tmp_path}/kernel", "--read=/proc/self/status"]
    script = "while read line; do echo $line; done < /proc/self/status"
    raw = f"{1 << 13:x}"
    assert capabilities(confined(script, *shown)) == {raw}
    assert capabilities(confined(script, *shown, "--no-raw-packets")) == {""}


def test_what_is_shown_is_read_only(confined, tmp_path):
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/kernel8.img").write_text("kernel\n")
    options = [f"--read={tmp_path}/kernel", f"--read={tmp_path}/boot"]
    assert confined(f"read line < {tmp_path}/boot/kernel8.img; echo $line", *options).stdout == "kernel\n"
    assert "Read-only" in confined(f"echo x > {tmp_path}/boot/new", *options).stderr


def test_no_mount_is_left_on_this_machine(confined, tmp_path):
    confined("true")
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
