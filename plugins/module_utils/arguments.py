"""Arguments of an action by its documentation, the module of its name, so that the two cannot differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.parsing.plugin_docs import read_docstring
from ansible.plugins.action import ActionBase

MODULES = Path(__file__).resolve().parents[1] / "modules"


def arguments(action: ActionBase, **rules: Any) -> dict[str, Any]:
    """The task's arguments; `rules` are further ones, such as required_if. Raises AnsibleActionFail."""
    name = type(action).__module__.rpartition(".")[2]
    options = read_docstring(str(MODULES / f"{name}.py"), ignore_errors=False)["doc"]["options"]
    _, found = action.validate_argument_spec(argument_spec=options, **rules)
    return dict(found)
