"""Write a secret to a file of the control node, or generate it there."""

from __future__ import annotations

import secrets
import stat
import string
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.edge_ai.cluster.plugins.module_utils.arguments import arguments
from ansible_collections.edge_ai.cluster.plugins.module_utils.files import text_of, write_text

MODE = 0o600
CHARACTERS = {
    "letters": string.ascii_letters + string.digits,
    "lowercase": string.ascii_lowercase + string.digits,
    "hex": "0123456789abcdef",
}


def put(task: dict[str, Any], pretend: bool) -> bool:
    """Whether the file is, or would be, written. Raises OSError."""
    path = Path(task["path"])
    if path.exists() and not task["force"]:
        return False
    if task["content"] is None:
        characters = CHARACTERS[task["characters"]]
        text = "".join(secrets.choice(characters) for _ in range(task["length"])) + "\n"
    else:
        text = task["content"]
    if path.is_file() and text_of(path) == text and stat.S_IMODE(path.stat().st_mode) == MODE:
        return False
    if not pretend:
        write_text(path, text, MODE)
    return True


class ActionModule(ActionBase):
    """What Ansible asks an action plugin for."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write it; nothing of it is in the result."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        of = ("content", "length")
        task = arguments(self, mutually_exclusive=[of], required_one_of=[of])
        try:
            return result | {"changed": put(task, self._task.check_mode)}
        except OSError as error:
            text = f"{task['path']} cannot be written ({error.strerror}): make its directory, or room on its disk"
            return result | {"failed": True, "msg": text}
