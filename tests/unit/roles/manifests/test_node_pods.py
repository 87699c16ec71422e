"""Pods that nodes report of themselves, with labels of any Service, are refused by an admission policy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.support import kustomize
from tests.support.paths import ROOT

pytestmark = kustomize.needed
NAME = "edge-ai-node-pods"


def policies(folder: Path, cases: dict[str, dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """What the role applies for it in each case: of the objects that it applies, records and compares."""
    (folder / "jupyter-password.argon2").write_text("argon2:$argon2id$x\n")
    (folder / "jupyter-password.cookies").write_text("x\n")
    first = yaml.safe_load((ROOT / "roles/manifests/tasks/apply.yml").read_text())[0]
    settings = {
        "manifests_nfs_server": "10.77.0.11", "manifests_render_host": "localhost", "cluster_name": "home",
        "k3s_node_name": "pi-01", "k3s_server_config": {}, "manifests_ingress": "none",
        # The expression is evaluated outside of the role.
        "role_path": str(ROOT / "roles/manifests"),
    }  # fmt: skip
    every = first["ansible.builtin.set_fact"]["__manifests_objects"]
    done = kustomize.play(folder, "manifests", every, cases, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    outputs = json.loads((folder / "outputs.json").read_text())
    return {
        case: [each for each in objects if each["apiVersion"].startswith("admissionregistration")]
        for case, objects in outputs.items()
    }


def test_nodes_make_no_pods_unless_boards_have_static_ones(tmp_path: Path) -> None:
    found = policies(
        tmp_path,
        {
            "default": {},
            "static pods": {"manifests_node_pods": True},
            "before 1.30": {"_manifests_k3s_version": "1.29.15"},
            "1.30": {"_manifests_k3s_version": "1.30.0"},
        },
    )
    assert found["static pods"] == found["before 1.30"] == []
    policy, binding = found["default"]
    assert found["1.30"] == found["default"]
    assert [each["kind"] for each in (policy, binding)] == [
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ]
    # Of the cluster: the API refuses one with a namespace.
    assert [set(each["metadata"]) for each in (policy, binding)] == [{"name", "labels"}] * 2
    assert binding["spec"] == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}
    (rule,) = policy["spec"]["matchConstraints"]["resourceRules"]
    # No subresource: a node has to write the status of its pods.
    assert rule == {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    assert policy["spec"]["failurePolicy"] == "Fail"
    # Evaluated by the API server's own library, 1.30 and 1.36: false for groups with system:nodes, true for all others
    # and for none.
    (validation,) = policy["spec"]["validations"]
    assert validation["expression"] == "!has(request.userInfo.groups) || !('system:nodes' in request.userInfo.groups)"
