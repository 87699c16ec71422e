"""Actions that run on the control node: their arguments are those of the module of their name, which documents them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from ansible.parsing.plugin_docs import read_docstring
from ansible.plugins.action import ActionBase

MODULES = Path(__file__).resolve().parents[1] / "modules"


class Action(ActionBase):
    """What such actions have in common; each says in `act` what it does."""

    _requires_connection = False
    #: Rules beside those of the documentation, such as required_if.
    RULES: ClassVar[dict[str, Any]] = {}

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The task's result. Raises AnsibleActionFail, also for arguments that are not as documented."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        name = type(self).__module__.rpartition(".")[2]
        options = read_docstring(str(MODULES / f"{name}.py"), ignore_errors=False)["doc"]["options"]
        _, task = self.validate_argument_spec(argument_spec=options, **self.RULES)
        return result | self.act(dict(task), task_vars or {})

    def act(self, task: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """What the task returns, given its arguments and the host's variables."""
        raise NotImplementedError
