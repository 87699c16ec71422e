"""`-e name=value` has the type of its role's argument_specs; run as a user runs it, with this project's ansible.cfg."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.callback.typed_options import typed
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.model import Option

from tests.support import ansible_playbook


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("bool", "false", False),
        ("bool", "Yes", True),
        ("bool", "maybe", "maybe"),
        ("int", "800", 800),
        ("int", "-3", -3),
        ("int", "1G", "1G"),
        ("float", "1.5", 1.5),
        ("list", "a, b", ["a", "b"]),
        ("list", "a,,", ["a"]),
        ("list", "[a, b]", "[a, b]"),
        ("dict", '{"a": 1}', {"a": 1}),
        ("dict", "text", "text"),
        ("str", "3", "3"),
        ("raw", "3", "3"),
        ("int", "{{ a }}", "{{ a }}"),
        ("int", "", ""),
        ("int", 3, 3),
    ],
)
def test_a_text_becomes_what_the_role_expects(kind: str, text: Any, value: Any) -> None:
    found = {"a": text} | typed({"a": text, "b": "1"}, {"a": Option("a", kind)})
    assert found == {"a": value}


@pytest.mark.parametrize(("kind", "value"), [("list", []), ("dict", {}), ("str", ""), ("int", ""), ("bool", "")])
def test_nothing_is_an_empty_list_where_that_is_the_default(kind: str, value: Any) -> None:
    assert {"a": ""} | typed({"a": ""}, {"a": Option("a", kind, may_be_empty=True)}) == {"a": value}
    assert typed({"a": ""}, {"a": Option("a", kind)}) == {}


def test_tasks_have_the_types(tmp_path: Path) -> None:
    expected = ["k3s_airgap_images is false", "k3s_join_timeout == 400", "k3s_disable == ['a', 'b']", "other == '1'"]
    expected += ["rotate == ['ssh-key']", "restore_datastore is false"]
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [{"ansible.builtin.assert": {"that": expected}, "when": ["not k3s_airgap_images"]}],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    variables = (
        "k3s_airgap_images=false",
        "k3s_join_timeout=400",
        "k3s_disable=a,b",
        "other=1",
        "rotate=ssh-key",
        "restore_datastore=no",
    )
    options = ["-i", "localhost,", "-c", "local", "play.yml", *(word for each in variables for word in ("-e", each))]
    done = ansible_playbook.run(options, cwd=tmp_path, env=ansible_playbook.environment(**ansible_playbook.OWN_OUTPUT))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok=1" in done.stdout
