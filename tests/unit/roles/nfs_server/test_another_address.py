"""An NFS server at another address than the cluster's volume has: the same board, another one, or no API to ask."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import ansible_playbook
from tests.support.api import Api, serving
from tests.support.paths import ROOT

OLD, NEW = "10.77.0.11", "10.79.0.11"
MARK = "edge-ai-cluster/nfs-host"


@contextmanager
def api_with_a_volume(server: str, host: str) -> Iterator[Api]:
    """It has the volume on a server, with the board that it was made for."""
    with serving() as found:
        resource = {"name": "persistentvolumes", "kind": "PersistentVolume", "namespaced": False, "verbs": ["get"]}
        annotations = {MARK: host} if host else {}
        found.answers |= {
            "/version": {"major": "1", "minor": "36"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": [resource]},
            "/apis": {"kind": "APIGroupList", "groups": []},
            "/api/v1/persistentvolumes/nfs": {
                "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "nfs", "annotations": annotations},
                "spec": {"nfs": {"server": server, "path": "/"}},
            },
        }  # fmt: skip
        yield found


def run(folder: Path, plays: list[dict[str, Any]]) -> tuple[int, str]:
    """Exit status and output of plays for pi-01."""
    hosts = {"pi-01": {"ansible_host": NEW, "ansible_connection": "local"}, "pi-02": {"ansible_host": "10.79.0.12"}}
    children = {"nfs_servers": {"hosts": {"pi-01": None}}, "boards": {"hosts": hosts}}
    common = {
        "ansible_python_interpreter": sys.executable, "cluster_secrets_dir": str(folder), "cluster_name": "unit",
    }  # fmt: skip
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": common, "children": children}}))
    (folder / "play.yml").write_text(json.dumps([{"hosts": "pi-01", "gather_facts": False, **play} for play in plays]))
    done = ansible_playbook.run(
        ["-i", "hosts.yml", "play.yml"],
        cwd=folder,
        # The client keeps there which kinds an address has.
        env=ansible_playbook.environment(TMPDIR=str(folder)),
    )
    return done.returncode, done.stdout + done.stderr


Case = tuple[str, str, dict[str, Any]]
"""The volume's server, the board that it was made for, and variables."""


def answers(folder: Path, tasks: list[dict[str, Any]], cases: list[Case]) -> list[tuple[bool, str]]:
    """Whether tasks succeed in each case, and what they print: a play each, with an API of its own, in one run."""
    plays = []
    with ExitStack() as stack:
        for number, (server, host, variables) in enumerate(cases):
            api = stack.enter_context(api_with_a_volume(server, host))
            (folder / f"kubeconfig-{number}").write_text(api.kubeconfig())
            given = {"k3s_kubeconfig": str(folder / f"kubeconfig-{number}"), **variables}
            failed = [{"name": "It failed", "ansible.builtin.debug": {"msg": "so"}}]
            plays.append({"name": f"Case {number}", "vars": given, "tasks": [{"block": tasks, "rescue": failed}]})
        code, output = run(folder, plays)
    assert code == 0, output
    parts = re.split(r"^PLAY \[Case \d+\].*$", output, flags=re.MULTILINE)[1:]
    return [("TASK [It failed]" not in part, " ".join(part.split())) for part in parts]


EXPORT = [{"ansible.builtin.import_role": {"name": "nfs_server", "tasks_from": "moved"}}]
EXPORTS = [(NEW, "", True), (OLD, "pi-01", True), (OLD, "pi-02", False), (OLD, "", False), ("10.79.0.12", "", False)]


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[bool, str]]:
    cases: list[Case] = [(server, host, {}) for server, host, _ in EXPORTS]
    return answers(tmp_path_factory.mktemp("exports"), EXPORT, cases)


@pytest.mark.parametrize("number", range(len(EXPORTS)), ids=lambda number: "-".join(map(str, EXPORTS[number])))
def test_the_export_of_the_volumes_board_is_made_at_its_new_address(
    exports: list[tuple[bool, str]], number: int
) -> None:
    *_, accepted = EXPORTS[number]
    succeeded, output = exports[number]
    assert succeeded == accepted, output
    assert accepted or "playbooks/move-storage.yml" in output


def test_an_api_at_an_address_that_is_nobodys_is_not_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with api_with_a_volume("10.79.0.12", "") as api:
        text = api.kubeconfig()
    address = yaml.safe_load(text)["clusters"][0]["cluster"]["server"]
    (tmp_path / "kubeconfig").write_text(text.replace(address, f"https://127.0.0.1:{port}"))
    code, output = run(tmp_path, [{"vars": {"k3s_kubeconfig": str(tmp_path / "kubeconfig")}, "tasks": EXPORT}])
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


VOLUMES: list[tuple[str, str, dict[str, Any], str]] = [
    (OLD, "pi-01", {}, f"The volume was on {OLD}, and is made anew on {NEW}"),
    (OLD, "", {"manifests_move_volume": True}, f"The volume was on {OLD}, and is made anew on {NEW}"),
    (OLD, "", {}, "playbooks/move-storage.yml"),
    (OLD, "pi-02", {}, "playbooks/move-storage.yml"),
    # Another machine, of which nothing is known.
    (OLD, "pi-01", {"manifests_nfs_server": "10.79.0.50"}, "playbooks/move-storage.yml"),
    # What failed is something else.
    (NEW, "pi-01", {}, "spec.nfs.server: immutable"),
]


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[bool, str]]:
    return answers(tmp_path_factory.mktemp("volumes"), APPLY, [case[:3] for case in VOLUMES])


@pytest.mark.parametrize("number", range(len(VOLUMES)), ids=lambda number: "-".join(map(str, VOLUMES[number])))
def test_the_volume_follows_its_board_alone(volumes: list[tuple[bool, str]], number: int) -> None:
    *_, words = VOLUMES[number]
    succeeded, output = volumes[number]
    assert words in output, output
    assert succeeded == ("made anew" in words)
