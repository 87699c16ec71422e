import pytest

from lab import launcher
from lab.launcher import Console, how_it_ended


@pytest.mark.parametrize(
    ("tail", "ending"),
    [
        (b"[  12.3] reboot: Restarting system\r\n", "reboot"),
        (b"[  12.3] reboot: Power down\r\n", "off"),
        (b"reboot: System halted", "off"),
        (b"Kernel panic - not syncing: VFS: Unable to mount root fs", "crash"),
        (b"", "crash"),
        (b"reboot: Power down\r\n ... reboot: Restarting system\r\n", "reboot"),
    ],
)
def test_the_last_words_tell_how_a_guest_ended(tail, ending):
    assert how_it_ended(tail) == ending


def test_what_an_earlier_boot_said_does_not_count(tmp_path):
    console = Console(tmp_path / "pi.console")
    console.write(b"reboot: Restarting system\r\n")
    console.forget()
    console.write(b"Kernel panic\r\n")
    assert how_it_ended(console.tail()) == "crash"


def test_words_split_over_reads_are_understood(tmp_path):
    console = Console(tmp_path / "pi.console")
    console.write(b"reboot: Resta")
    console.write(b"rting system\r\n")
    assert how_it_ended(console.tail()) == "reboot"


def test_the_console_log_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(launcher, "CONSOLE_LIMIT", 1000)
    console = Console(tmp_path / "pi.console")
    for number in range(100):
        console.write(b"%099d\n" % number)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["pi.console", "pi.console.1"]
    assert all(path.stat().st_size <= 1200 for path in tmp_path.iterdir())
    assert (tmp_path / "pi.console").read_bytes().endswith(b"99\n")
