"""What the action makes of its program and of a node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible_collections.edge_ai.cluster.plugins.module_utils.container_image.archive import Archive, sidecar

from tests.support import ansible_playbook
from tests.support.paths import ROOT


def run(folder: Path, *tasks: dict[str, Any]) -> str:
    """Output of a play in which each of the tasks may fail."""
    plays = [
        {
            "hosts": "pi-01",
            "gather_facts": False,
            "tasks": [{"edge_ai.cluster.container_image": task, "ignore_errors": True} for task in tasks],
        }
    ]
    (folder / "play.json").write_text(json.dumps(plays))
    done = ansible_playbook.run(["-i", "pi-01,", folder / "play.json"], cwd=ROOT)
    return " ".join((done.stdout + done.stderr).split())


def sent(archive: Path, data_dir: Path) -> dict[str, Any]:
    ssh = {"name": "pi-01", "connection": "local", "host": "pi-01", "user": "root"}
    options = {"archive": str(archive), "k3s": "/usr/local/bin/k3s", "data_dir": str(data_dir), "timeout": 20}
    return {"command": "send", "label": "pi-01: ", "ssh": ssh, "options": options}


def test_a_node_that_takes_no_image_is_an_error_with_its_reason(tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    archive.write_bytes(b"z" * 4000)
    known = Archive(str(archive), "localhost/edge-ai/x:0123456789ab", "sha256:" + "0" * 64, 4000, 9000)
    sidecar(archive).write_text(json.dumps(vars(known)))
    text = run(tmp_path, sent(archive, tmp_path / "none"), sent(tmp_path / "other.tar", tmp_path))
    assert f"{tmp_path}/none does not exist: k3s is not installed on this node" in text
    assert "pi-01: 0 MB sent in 0 s; the node unpacks them" in text
    assert f"{tmp_path}/other.tar is not a complete archive" in text


def test_what_the_builder_says_last_is_the_error(tmp_path: Path) -> None:
    options = {"context": str(tmp_path), "name": "localhost/x", "cache": str(tmp_path), "arch": ["amd64", "arm64"]}
    text = run(tmp_path, {"command": "build", "options": options})
    assert f"{tmp_path}/Dockerfile does not exist; set container_image_context to its directory" in text
