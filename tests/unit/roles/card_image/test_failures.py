"""What an operator reads when the image of the cards cannot be prepared: what failed, and the way without it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.support import ansible_playbook
from tests.support.paths import ROOT


def run(directory: Path, tasks: str, **variables: object) -> str:
    """The message with which a play with tasks of the role ends."""
    task = {"name": "Prepare", "ansible.builtin.include_role": {"name": "card_image", "tasks_from": tasks}}
    (directory / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    given = {
        "ansible_python_interpreter": sys.executable,
        "cluster_cache_dir": str(directory / "cache"),
        "card_image_source": "/nonexistent/os.img",
        "card_image_digest": "0" * 64,
        "card_image_become": False,
        "_card_image_namespaces": [],
        "__card_image": {"path": str(directory / "cache/images/prepared-1.img"), "k3s": "aarch64"},
    }
    options = ["-i", "localhost,", "-c", "local", directory / "play.yml", "-e", json.dumps(given | variables)]
    done = ansible_playbook.run(options, cwd=ROOT)
    assert done.returncode == 2, done.stdout + done.stderr
    return " ".join((done.stdout + done.stderr).split())


def test_an_image_that_cannot_be_prepared(tmp_path: Path) -> None:
    script = tmp_path / "prepare.sh"
    script.write_text("echo the program qemu-aarch64-static is too old >&2; exit 3\n")
    text = run(tmp_path, "make", card_image_parts=[], _card_image_script=str(script))
    assert "The OS image could not be prepared for the cards: the program qemu-aarch64-static is too old." in text
    assert "write card_image_parts: [] in group_vars/boards.yml" in text


def test_an_image_that_takes_too_long(tmp_path: Path) -> None:
    script = tmp_path / "prepare.sh"
    script.write_text("sleep 60\n")
    text = run(tmp_path, "make", card_image_parts=[], _card_image_script=str(script), card_image_timeout=1)
    assert "could not be prepared for the cards: it took more than 1 s (card_image_timeout)." in text


def test_a_release_page_that_does_not_answer(tmp_path: Path) -> None:
    url = "http://127.0.0.1:1/k3s"
    text = run(
        tmp_path, "prepare", card_image_parts=["k3s"], _card_image_machine="aarch64", k3s_release_url=url,
        cluster_secrets_dir=str(tmp_path),
    )  # fmt: skip
    assert f"which could not be downloaded from {url}: " in text
    assert "write card_image_parts: [packages] in group_vars/boards.yml" in text
