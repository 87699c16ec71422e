"""An action takes what its documentation says, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible.parsing.plugin_docs import read_docstring

from tests.support import ansible_playbook
from tests.support.paths import ROOT

MODULES = sorted((ROOT / "plugins/modules").glob("*.py"))
KNOWN = {"description", "type", "elements", "choices", "default", "required", "no_log"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_options_have_known_keys(path: Path) -> None:
    """A comma in a description that is not in quotes makes another key of what follows it."""
    options = read_docstring(str(path), ignore_errors=False)["doc"].get("options") or {}
    assert {key for option in options.values() for key in option} <= KNOWN


def test_an_action_refuses_what_is_not_documented(tmp_path: Path) -> None:
    drain = {"kubeconfig": "/none", "state": "known", "mark": "x"}
    tasks = [
        {"edge_ai.cluster.k3s_drain": drain | change, "ignore_errors": True}
        for change in ({"state": "empty"}, {"state": "drained"}, {"tiemout": 1}, {"timeout": "soon"}, {})
    ]
    (tmp_path / "play.json").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    done = ansible_playbook.run(["-i", "localhost,", tmp_path / "play.json"], cwd=ROOT)
    for text in (
        "value of state must be one of: known, drained, released, got: empty",
        "state is drained but all of the following are missing: node",
        "tiemout. Supported parameters include",
        "argument 'timeout' is of type str",
        "/none: there is no kubeconfig",
    ):
        assert text in " ".join(done.stdout.split()), done.stdout + done.stderr
