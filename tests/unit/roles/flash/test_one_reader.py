"""One reader for several boards: one command, which asks for one card after another. The reader is a file."""

import hashlib
import http.server
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support import ansible_playbook
from tests.support.paths import ROOT
from tests.support.terminal import Terminal

sys.path.insert(0, str(ROOT / "tests/unit/plugins/module_utils/flash"))
from flash_helpers import build_image

BOARDS = ("pi-01", "pi-02")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Settings by which the image is downloaded."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    directory = tmp_path_factory.mktemp("www")
    content = build_image(directory / "os.img").read_bytes()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(directory)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/os.img"
    yield {"flash_image_url": url, "flash_image_sha256": hashlib.sha256(content).hexdigest()}
    server.shutdown()
    server.server_close()


def arguments(tmp_path: Path, image: dict[str, str], *options: str) -> list[str]:
    """The flash stage for two boards that are off."""
    settings = {
        "cluster_root": str(tmp_path), "cluster_secrets_dir": str(tmp_path / "secrets"),
        "cluster_cache_dir": str(tmp_path / "cache"), "ansible_user": "pi", "ansible_host": "127.0.0.1",
        "ansible_ssh_private_key_file": str(tmp_path / "secrets/id_ed25519"),
        "flash_card": str(tmp_path / "reader.img"), "flash_card_size": "64M", "flash_ssh_timeout": 1, **image,
    }  # fmt: skip
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    # Nothing listens on these ports.
    boards = {name: {"ansible_port": port} for port, name in enumerate(BOARDS, start=1)}
    inventory = {"all": {"hosts": {"localhost": local}, "children": {"cluster": {"hosts": boards}}, "vars": settings}}
    (tmp_path / "hosts.json").write_text(json.dumps(inventory))
    return ["-i", str(tmp_path / "hosts.json"), "playbooks/stages/flash.yml", *options]


def play(tmp_path: Path, image: dict[str, str], *options: str) -> Terminal:
    """The same, on a terminal."""
    environment = ansible_playbook.environment(TERM="xterm", **ansible_playbook.OWN_OUTPUT)
    return Terminal(arguments(tmp_path, image, *options), ROOT, environment, columns=400)


def press_enter(terminal: Terminal, question: str) -> None:
    """Answer the question that is on the screen once it waits."""
    terminal.until(question)
    while not terminal.screen.endswith(":"):
        assert terminal.read(0.2), terminal.screen
    terminal.read(1)  # what is typed earlier is not read
    terminal.type("\n")


def test_one_command_asks_for_one_card_after_another(tmp_path: Path, image: dict[str, str]) -> None:
    reader, first = tmp_path / "reader.img", tmp_path / "first.img"
    terminal = play(tmp_path, image)
    reader.write_text("holiday pictures")
    press_enter(terminal, "Insert the card for pi-01 into")
    terminal.until("contains something that is not a card image")
    assert reader.read_text() == "holiday pictures"
    reader.unlink()
    press_enter(terminal, "Insert the card for pi-01 into")
    # The card of the first board is left in the reader.
    press_enter(terminal, "Insert the card for pi-02 into")
    terminal.until("it is the card of pi-01, written for its present settings: insert the card for pi-02")
    reader.rename(first)
    press_enter(terminal, "it is the card of pi-01")
    terminal.until("Insert the cards into their boards")
    assert first.stat().st_size == reader.stat().st_size == 64 * 2**20
    assert first.read_bytes() != reader.read_bytes()
    press_enter(terminal, "Insert the cards into their boards")
    assert terminal.wait() == 2  # no board answers
    assert "no ssh login as pi within 1 s" in terminal.screen


def test_card_of_another_board_is_not_overwritten_by_reflash(tmp_path: Path, image: dict[str, str]) -> None:
    """-e flash_reflash=pi-01,pi-02, and Enter pressed without a change of the card."""
    terminal = play(tmp_path, image, "-e", "flash_reflash=pi-01,pi-02")
    press_enter(terminal, "Insert the card for pi-01 into")
    press_enter(terminal, "Insert the card for pi-02 into")
    terminal.until("it is the card of pi-01, written for its present settings: insert the card for pi-02")
    terminal.process.send_signal(signal.SIGTERM)
    terminal.wait()


def test_without_a_terminal_a_refused_card_ends_the_run(tmp_path: Path, image: dict[str, str]) -> None:
    (tmp_path / "reader.img").write_text("holiday pictures")
    done = ansible_playbook.run(arguments(tmp_path, image), cwd=ROOT)
    assert done.returncode == 2
    assert "contains something that is not a card image" in done.stdout
    assert done.stdout.count("TASK [flash : Validate the card]") == 1
    assert (tmp_path / "reader.img").read_text() == "holiday pictures"


def boards_to_flash(*limit: str) -> list[str]:
    """What flash.yml would flash of inventory/example."""
    options = ["-i", "inventory/example", "playbooks/flash.yml", "--list-hosts", *limit]
    done = ansible_playbook.run(options, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return sorted(re.findall(r"^      (\S+)$", done.stdout.partition("play #2")[2], flags=re.MULTILINE))


@pytest.mark.parametrize(
    ("limit", "hosts"),
    [
        ((), ["pi-01", "pi-02", "pi-03"]),
        (("-l", "pi-05"), ["pi-05"]),
        (("-l", "!pi-02"), ["pi-01", "pi-03"]),
        (("-l", "spare"), ["pi-05"]),
        (("-l", "pi-01,pi-05"), ["pi-01", "pi-05"]),
        (("-l", "pi-01:pi-05"), ["pi-01", "pi-05"]),
        (("-l", "pi-0[15]*"), ["pi-01", "pi-05"]),
        (("-l", "pi-*:!pi-02"), ["pi-01", "pi-03", "pi-05"]),
        (("-l", "~pi-0(3|5)$"), ["pi-03", "pi-05"]),
        (("-l", "pi-0*,&spare"), ["pi-05"]),
    ],
)
def test_spare_board_is_flashed_when_the_limit_names_it(limit: tuple[str, ...], hosts: list[str]) -> None:
    assert boards_to_flash(*limit) == hosts


@pytest.mark.parametrize(
    ("limit", "hosts"),
    [
        ("@{file}", ["pi-01", "pi-05"]),
        ("@{relative}", ["pi-01", "pi-05"]),
        ("pi-03,@{file}", ["pi-01", "pi-03", "pi-05"]),
        ("@{file}:!pi-01", ["pi-05"]),
        ("@{exclusion}", ["pi-01", "pi-03"]),
    ],
)
def test_a_file_of_the_limit_names_spare_boards_too(tmp_path: Path, limit: str, hosts: list[str]) -> None:
    (tmp_path / "boards").write_text("pi-01\npi-05\n")
    (tmp_path / "exclusion").write_text("!pi-02\n")
    file = tmp_path / "boards"
    names = {"file": file, "relative": os.path.relpath(file, ROOT), "exclusion": tmp_path / "exclusion"}
    assert boards_to_flash("-l", limit.format(**names)) == hosts


def test_a_spare_board_to_reflash_that_is_not_flashed_is_refused(tmp_path: Path, image: dict[str, str]) -> None:
    options = arguments(tmp_path, image, "-e", "flash_reflash=pi-01,pi-05")
    hosts = json.loads((tmp_path / "hosts.json").read_text())
    hosts["all"]["children"]["spare"] = {"hosts": {"pi-05": None}}
    (tmp_path / "hosts.json").write_text(json.dumps(hosts))
    done = ansible_playbook.run(options, cwd=ROOT)
    assert done.returncode == 2
    assert "flash_reflash has pi-05 of the group spare" in done.stdout + done.stderr
