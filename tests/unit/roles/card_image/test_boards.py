"""What is the same for the card images of several boards is done by the first of them, and only there."""

from __future__ import annotations

import http.server
import json
import os
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support import ansible_playbook
from tests.support.paths import ROOT

VERSION = "v1.36.3+lab1"
BOARDS = {"pi-01": ["tensorflow", "lite"], "pi-02": ["lite"], "pi-03": ["lite"]}
SCRIPT = """case $1 in inspect) echo x86_64 ;; prepare) touch "$5" ;; esac"""
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
REFS = {"tensorflow": "localhost/edge-ai/tensorflow-jupyter", "lite": "localhost/edge-ai/litert"}


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A release page."""

    def log_message(self, *_: object) -> None:
        pass


def ansible(directory: Path, hosts: dict[str, object], tasks: list[object], **variables: object) -> dict[str, Any]:
    """A play's results as the callback json prints them."""
    (directory / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    (directory / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    done = ansible_playbook.run(
        ["-i", directory / "hosts.json", "-c", "local", directory / "play.yml",
         "-e", json.dumps({"ansible_python_interpreter": sys.executable} | variables)],
        cwd=ROOT, env=ansible_playbook.environment(ANSIBLE_STDOUT_CALLBACK="ansible.posix.json"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return found


def archives(directory: Path) -> None:
    """Have empty archives of both images in the cache, as if they were built."""
    lookup = "{{ lookup('edge_ai.cluster.container_image_ref', context, name=tensorflow) }}"
    lite = lookup.replace("=tensorflow", "=lite, requirements='requirements-lite'")
    asked = {"name": "Refs", "ansible.builtin.debug": {"msg": [lookup, lite]}}
    given = {"context": str(ROOT / "docker"), **REFS}
    said = ansible(directory, {"localhost": {}}, [asked], **given)
    for ref in said["plays"][0]["tasks"][0]["hosts"]["localhost"]["msg"]:
        archive = directory / f"{ref.rpartition(':')[2]}-amd64.tar"
        archive.touch()
        known = {"path": str(archive), "reference": ref, "manifest_digest": f"sha256:{EMPTY}", "size": 0}
        archive.with_suffix(".json").write_text(json.dumps(known | {"unpacked_size": 1}))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount an image")
def test_first_board_does_what_is_the_same_for_others(tmp_path: Path) -> None:
    release = tmp_path / "www" / "k3s" / VERSION
    release.mkdir(parents=True)
    names = ("k3s", "k3s-airgap-images-amd64.tar.zst")
    for name in names:
        (release / name).touch()
    (release / "sha256sum-amd64.txt").write_text("".join(f"{EMPTY}  {name}\n" for name in names))
    (tmp_path / "prepare.sh").write_text(SCRIPT)
    (tmp_path / "os.img").touch()
    # Archives that are built already.
    images = tmp_path / "cache/images-oci"
    images.mkdir(parents=True)
    archives(images)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "www")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hosts = {name: {"container_image_needed": needed} for name, needed in BOARDS.items()}
    role = {"name": "Prepare", "ansible.builtin.include_role": {"name": "card_image"}}
    shown = {"name": "Path", "ansible.builtin.debug": {"msg": "{{ __card_image.path }}"}}
    given = {"card_image_source": str(tmp_path / "os.img"), "card_image_digest": "0" * 64, "card_image_become": False}
    settings = {
        "card_image_parts": ["k3s", "images"], "_card_image_script": str(tmp_path / "prepare.sh"),
        "_card_image_namespaces": [], "cluster_cache_dir": str(tmp_path / "cache"),
        "cluster_secrets_dir": str(tmp_path), "k3s_version": VERSION,
        "k3s_release_url": f"http://127.0.0.1:{server.server_port}/k3s",
    }  # fmt: skip
    try:
        found = ansible(tmp_path, hosts, [role | {"vars": given}, shown], **settings)
    finally:
        server.shutdown()
        server.server_close()
    tasks = {task["task"]["name"].split(" : ")[-1]: task["hosts"] for task in found["plays"][0]["tasks"]}

    def did(name: str) -> list[str]:
        return [host for host, result in tasks[name].items() if not result.get("skipped")]

    assert did("Inspect the OS image") == ["pi-01"]
    assert did("Download the digests") == ["pi-01"]
    assert did("Build the archives for the card image") == ["pi-01", "pi-02"]
    assert did("Prepare a copy of the OS image") == ["pi-01", "pi-02"]
    paths = {host: result["msg"] for host, result in tasks["Path"].items()}
    assert paths["pi-02"] == paths["pi-03"] != paths["pi-01"]
    assert all(Path(path).exists() for path in paths.values())
