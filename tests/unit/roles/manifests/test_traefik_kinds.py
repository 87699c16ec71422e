"""What the role waits for before it applies objects of Traefik, which k3s installs meanwhile."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import ansible_playbook
from tests.support.api import Api, serving
from tests.support.paths import ROOT

CRDS = "/apis/apiextensions.k8s.io/v1"
ESTABLISHED = {"conditions": [{"type": "Established", "status": "True"}]}


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as found:
        group, kind = "apiextensions.k8s.io", "CustomResourceDefinition"
        version = {"groupVersion": f"{group}/v1", "version": "v1"}
        resource = {"name": "customresourcedefinitions", "kind": kind, "namespaced": False, "verbs": ["get", "list"]}
        found.answers |= {
            "/version": {"major": "1", "minor": "36"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": []},
            "/apis": {
                "kind": "APIGroupList",
                "groups": [{"name": group, "versions": [version], "preferredVersion": version}],
            },
            CRDS: {"kind": "APIResourceList", "groupVersion": f"{group}/v1", "resources": [resource]},
        }
        yield found


def wait(folder: Path, api: Api) -> tuple[int, str]:
    """Exit status and output of the role's wait for two kinds, with two tries."""
    (folder / "kubeconfig").write_text(api.kubeconfig())
    tasks = yaml.safe_load((ROOT / "roles/manifests/tasks/apply.yml").read_text())
    play = {
        "name": "Wait",
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {
            "ansible_python_interpreter": sys.executable,
            "manifests_kubeconfig": str(folder / "kubeconfig"),
            "manifests_rollout_timeout": 300,
            "_manifests_by_ingress": True,
            "_manifests_retries": 1,
            "_manifests_namespace": "edge-ai",
            "__manifests_record": {"resources": []},
            "__manifests_objects": [
                {"apiVersion": "traefik.io/v1alpha1", "kind": "IngressRoute"},
                {"apiVersion": "traefik.io/v1alpha1", "kind": "TLSStore"},
                {"apiVersion": "v1", "kind": "Secret"},
            ],
        },
        "tasks": [task for task in tasks if task["name"].startswith("Wait for Traefik")],
    }
    (folder / "play.yml").write_text(json.dumps([play]))
    done = ansible_playbook.run(
        ["-i", "localhost,", "play.yml"],
        cwd=folder,
        # The client keeps there which kinds an address has.
        env=ansible_playbook.environment(TMPDIR=str(folder)),
    )
    return done.returncode, done.stdout + done.stderr


def crd(name: str, status: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "CustomResourceDefinition", "metadata": {"name": name}, "status": status}


@pytest.mark.parametrize(
    ("stores", "is_installed"), [(ESTABLISHED, True), ({}, False), (None, False)], ids=["there", "not-served", "absent"]
)
def test_every_kind_must_be_served(tmp_path: Path, api: Api, stores: dict[str, Any] | None, is_installed: bool) -> None:
    for plural, status in (("ingressroutes", ESTABLISHED), ("tlsstores", stores)):
        if status is not None:
            name = f"{plural}.traefik.io"
            api.answers[f"{CRDS}/customresourcedefinitions/{name}"] = crd(name, status)
    code, output = wait(tmp_path, api)
    assert (code == 0) == is_installed, output
    assert ("k3s has not installed Traefik within 300 s" in " ".join(output.split())) != is_installed
