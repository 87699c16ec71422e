"""Write a secret to a file of the control node, or generate it there."""

from __future__ import annotations

import secrets
import stat
import string
from pathlib import Path
from typing import Any, ClassVar

from ansible_collections.edge_ai.cluster.plugins.module_utils.action import Action
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


class ActionModule(Action):
    """What Ansible asks an action plugin for."""

    RULES: ClassVar[dict[str, Any]] = {
        "mutually_exclusive": [("content", "length")],
        "required_one_of": [("content", "length")],
    }

    def act(self, task: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Write it; nothing of it is in the result."""
        try:
            return {"changed": put(task, self._task.check_mode)}
        except OSError as error:
            text = f"{task['path']} cannot be written ({error.strerror}): make its directory, or room on its disk"
            return {"failed": True, "msg": text}
