"""Objects of the API for tasks: as filters take them, with limits, and without what a task hides."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.edge_ai.cluster.plugins.action.kube_objects import found
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.api import connected
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.objects import Objects
from urllib3.exceptions import HTTPError

from tests.support import ansible_playbook
from tests.support.api import APPS, CORE, Api, deployment, node, pod, ready, serving
from tests.support.paths import ROOT

DEPLOYMENTS = f"{APPS}/deployments?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dus"
PODS = f"{CORE}/pods?labelSelector=app.kubernetes.io%2Fpart-of%3Dedge-ai"
EVENTS = f"{CORE}/events?fieldSelector=involvedObject.kind%3DPod%2Ctype%3DWarning"
READY = {"updatedReplicas": 1, "availableReplicas": 1, "replicas": 1}


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as there:
        yield there


def get(api: Api, folder: Path, **task: Any) -> list[dict[str, Any]]:
    """What the action finds with these options."""
    options = yaml.safe_load(documentation())["options"]
    defaults = {name: option["default"] for name, option in options.items() if "default" in option}
    (folder / "kubeconfig").write_text(api.kubeconfig())
    with connected(folder / "kubeconfig") as client:
        return found(Objects(client), defaults | task)


def documentation() -> str:
    text = (ROOT / "plugins/modules/kube_objects.py").read_text()
    return text.split('r"""\n')[1].split('"""')[0]


def listed(kind: str, version: str, *items: dict[str, Any]) -> dict[str, Any]:
    """A list as the API sends it: its objects do not say what they are."""
    return {"apiVersion": version, "kind": f"{kind}List", "items": list(items)}


def test_objects_say_their_kind_and_hide_what_the_task_does_not_want(api: Api, tmp_path: Path) -> None:
    one = deployment("jupyter")
    one["metadata"] |= {"managedFields": [1], "annotations": {"x": "y"}}
    path = f"{APPS}/deployments?labelSelector=a%3Db%2C%21c&fieldSelector=metadata.name%3Djupyter"
    api.answers[path] = listed("Deployment", "apps/v1", one)
    asked = {"api_version": "apps/v1", "resource": "deployments", "namespace": "edge-ai"}
    selectors = {"label_selectors": ["a=b", "!c"], "field_selectors": ["metadata.name=jupyter"]}
    hidden = ["metadata.annotations", "spec.template", "spec.none.at.all", "status.replicas.deeper"]
    assert get(api, tmp_path, **asked, **selectors, hidden_fields=hidden) == [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "jupyter", "namespace": "edge-ai"},
            "spec": {"replicas": 1},
            "status": {"replicas": 1},
        }
    ]


def test_one_object_is_a_list_of_it_or_an_empty_one(api: Api, tmp_path: Path) -> None:
    api.answers["/api/v1/nodes/pi-01"] = node("pi-01")
    assert [each["metadata"]["name"] for each in get(api, tmp_path, resource="nodes", name="pi-01")] == ["pi-01"]
    assert get(api, tmp_path, resource="nodes", name="pi-02") == []
    # Kinds that are not installed have no objects.
    assert get(api, tmp_path, resource="ingressroutes", api_version="traefik.io/v1") == []


@pytest.mark.parametrize(
    "answer",
    [[], "x", {"items": {"a": 1}}, {"items": ["x"]}, None],
    ids=["list", "text", "object", "texts", "null"],
)
def test_an_answer_of_another_shape_is_an_error(api: Api, tmp_path: Path, answer: Any) -> None:
    api.answers["/api/v1/nodes"] = answer
    with pytest.raises(HTTPError):
        get(api, tmp_path, resource="nodes")


def test_an_answer_that_is_too_deep_is_an_error(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api.answers["/api/v1/nodes"] = {}
    monkeypatch.setattr(json, "loads", lambda _, loads=json.loads: loads("[" * 1_000_000))
    with pytest.raises(HTTPError, match="status 200, and without an object in JSON"):
        get(api, tmp_path, resource="nodes")


def test_a_kubeconfig_may_have_a_token(tmp_path: Path) -> None:
    with serving() as there:
        given = json.loads(there.kubeconfig())
        given["users"] = [{"name": "u", "user": {"token": "s3cret"}}]
        (tmp_path / "kubeconfig").write_text(json.dumps(given))
    with connected(tmp_path / "kubeconfig") as client:
        assert Objects(client).headers == {"authorization": "Bearer s3cret"}


def roll_out(folder: Path, api: Api, *options: str) -> tuple[int, str]:
    """Exit status and output of the role's wait for its Deployments, with two tries."""
    (folder / "kubeconfig").write_text(api.kubeconfig())
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {
            "ansible_python_interpreter": sys.executable,
            "manifests_kubeconfig": str(folder / "kubeconfig"),
            "manifests_rollout_timeout": 2,
            "_manifests_retries": 1,
            "_manifests_namespace": "edge-ai",
            "_manifests_manager": "us",
        },
        "tasks": yaml.safe_load((ROOT / "roles/manifests/tasks/rollout.yml").read_text()),
    }
    (folder / "play.yml").write_text(json.dumps([play]))
    done = ansible_playbook.run(["-i", "localhost,", "play.yml", *options], cwd=folder)
    return done.returncode, done.stdout + done.stderr


class Later(dict[str, Any]):
    """Answers of which those to DEPLOYMENTS are taken one after another."""

    def get(self, path: str, default: Any = None) -> Any:
        found = super().get(path, default)
        return found.pop(0) if path == DEPLOYMENTS else found


@pytest.mark.parametrize("options", [(), ("--check",)], ids=["run", "check"])
def test_a_task_asks_until_its_condition_holds(tmp_path: Path, api: Api, options: tuple[str, ...]) -> None:
    waiting, complete = deployment("jupyter"), deployment("jupyter") | {"status": READY}
    api.answers = Later({DEPLOYMENTS: [listed("Deployment", "apps/v1", each) for each in (waiting, complete)]})
    code, output = roll_out(tmp_path, api, *options)
    assert code == 0, output
    assert "FAILED - RETRYING" in output


def test_a_failed_rollout_is_explained_whatever_nodes_have_written(tmp_path: Path, api: Api) -> None:
    """More events than are read, of a few MB each, which a node's credential may make."""
    secret = deployment("jupyter", probe="/of-the-template")
    stopped = pod(ready("False") | {"phase": "Pending"})
    long = {"type": "Warning", "message": "x" * (4 << 20)}
    api.answers |= {
        DEPLOYMENTS: listed("Deployment", "apps/v1", secret),
        PODS: listed("Pod", "v1", stopped),
        EVENTS: listed("Event", "v1", *[long] * 9),
    }
    code, output = roll_out(tmp_path, api)
    assert code == 2
    assert "Not ready after 2 s: jupyter." in output
    assert "a on no node: Pending" in output
    assert "the Kubernetes API does not give events (an answer has more than 32 MiB" in output
    assert "/of-the-template" not in output


def test_an_api_that_is_gone_is_named_by_the_task_that_waits(tmp_path: Path) -> None:
    with serving() as gone:
        pass
    code, output = roll_out(tmp_path, gone)
    assert code == 2
    assert "the Kubernetes API does not give deployments (" in output
    assert "FAILED - RETRYING" not in output and "Not ready after" not in output


def test_without_a_kubeconfig_the_task_says_what_to_do(tmp_path: Path) -> None:
    task = {"edge_ai.cluster.kube_objects": {"kubeconfig": "none", "resource": "nodes"}}
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    done = ansible_playbook.run(["-i", "localhost,", "-c", "local", "play.yml"], cwd=tmp_path)
    assert done.returncode == 2
    assert "none: there is no kubeconfig of the cluster; run site.yml first" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
