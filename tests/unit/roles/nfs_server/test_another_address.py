"""An NFS server at another address than the cluster's volume has: the same board, another one, or no API to ask."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.api import Api, serving
from tests.support.paths import ROOT

OLD, NEW = "10.77.0.11", "10.79.0.11"
MARK = "edge-ai-cluster/nfs-host"


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as found:
        resource = {"name": "persistentvolumes", "kind": "PersistentVolume", "namespaced": False, "verbs": ["get"]}
        found.answers |= {
            "/version": {"major": "1", "minor": "36"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": [resource]},
            "/apis": {"kind": "APIGroupList", "groups": []},
        }
        yield found


def volume(api: Api, server: str, host: str) -> None:
    """The API has the volume on a server, with the board that it was made for."""
    annotations = {MARK: host} if host else {}
    api.answers["/api/v1/persistentvolumes/nfs"] = {
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "nfs", "annotations": annotations},
        "spec": {"nfs": {"server": server, "path": "/"}},
    }  # fmt: skip


def run(folder: Path, kubeconfig: str, tasks: list[dict[str, Any]], **variables: Any) -> tuple[int, str]:
    """Exit status and output of tasks on pi-01 with that kubeconfig; each role's own variables come with them."""
    (folder / "kubeconfig").write_text(kubeconfig)
    hosts = {"pi-01": {"ansible_host": NEW, "ansible_connection": "local"}, "pi-02": {"ansible_host": "10.79.0.12"}}
    children = {"nfs_servers": {"hosts": {"pi-01": None}}, "boards": {"hosts": hosts}}
    common = {
        "ansible_python_interpreter": sys.executable, "cluster_secrets_dir": str(folder), "cluster_name": "unit",
        "k3s_kubeconfig": str(folder / "kubeconfig"), **variables,
    }  # fmt: skip
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": common, "children": children}}))
    play = {"hosts": "pi-01", "gather_facts": False, "tasks": tasks}
    (folder / "play.yml").write_text(json.dumps([play]))
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(folder / "hosts.yml"), "play.yml"],
        cwd=folder,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "default",
            # The client keeps there which kinds an address has.
            "TMPDIR": str(folder),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


EXPORT = [{"ansible.builtin.import_role": {"name": "nfs_server", "tasks_from": "moved"}}]


@pytest.mark.parametrize(
    ("server", "host", "accepted"),
    [(NEW, "", True), (OLD, "pi-01", True), (OLD, "pi-02", False), (OLD, "", False), ("10.79.0.12", "", False)],
)
def test_the_export_of_the_volumes_board_is_made_at_its_new_address(
    api: Api, tmp_path: Path, server: str, host: str, accepted: bool
) -> None:
    volume(api, server, host)
    code, output = run(tmp_path, api.kubeconfig(), EXPORT)
    assert (code == 0) == accepted, output
    assert accepted or "playbooks/move-storage.yml" in output


def test_an_api_at_an_address_that_is_nobodys_is_not_waited_for(api: Api, tmp_path: Path) -> None:
    volume(api, "10.79.0.12", "")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = api.kubeconfig()
    address = yaml.safe_load(text)["clusters"][0]["cluster"]["server"]
    code, output = run(tmp_path, text.replace(address, f"https://127.0.0.1:{port}"), EXPORT)
    assert code == 0, output
    # The request, which would wait for it.
    assert "skipped=1" in output


# Until something is changed.
VOLUME = yaml.safe_load((ROOT / "roles/manifests/tasks/moved.yml").read_text())[:3]
APPLY = [
    # For the role's variables.
    {"ansible.builtin.import_role": {"name": "manifests", "tasks_from": "password"}, "when": False},
    {
        "block": [{"ansible.builtin.fail": {"msg": "spec.nfs.server: immutable"}}],
        "rescue": VOLUME,
    },
]


@pytest.mark.parametrize(
    ("server", "host", "variables", "words"),
    [
        (OLD, "pi-01", {}, f"The volume was on {OLD}, and is made anew on {NEW}"),
        (OLD, "", {"manifests_move_volume": True}, f"The volume was on {OLD}, and is made anew on {NEW}"),
        (OLD, "", {}, "playbooks/move-storage.yml"),
        (OLD, "pi-02", {}, "playbooks/move-storage.yml"),
        # Another machine, of which nothing is known.
        (OLD, "pi-01", {"manifests_nfs_server": "10.79.0.50"}, "playbooks/move-storage.yml"),
        # What failed is something else.
        (NEW, "pi-01", {}, "spec.nfs.server: immutable"),
    ],
)
def test_the_volume_follows_its_board_alone(
    api: Api, tmp_path: Path, server: str, host: str, variables: dict[str, Any], words: str
) -> None:
    volume(api, server, host)
    code, output = run(tmp_path, api.kubeconfig(), APPLY, **variables)
    assert words in output, output
    assert (code == 0) == ("made anew" in words)
