"""Validate that Ansible can log in to a board and be root there, with a remedy for each way that this fails."""

from __future__ import annotations

import getpass
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import printable

NO_PASSWORD = (
    "sudo asks {user} for a password, and none was given: run this with -K (--ask-become-pass), or write "
    "ansible_become_password for this host, encrypted by ansible-vault"
)
WRONG_PASSWORD = "sudo does not accept the password for {user}: correct what -K or ansible_become_password gives"
NO_SUDO = "{user} may not use sudo: add the user to the group sudo there, or use another one"


def problem(message: str, user: str) -> str:
    """What is wrong, from the text of a connection or of sudo that failed."""
    if "Missing sudo password" in message or "a password is required" in message:
        return NO_PASSWORD.format(user=user)
    if "Incorrect sudo password" in message or "incorrect password attempt" in message:
        return WRONG_PASSWORD.format(user=user)
    if "not in the sudoers file" in message or "may not run sudo" in message:
        return NO_SUDO.format(user=user)
    return f"Ansible cannot log in as {user}: {printable(message, 2000)}"


class ActionModule(ActionBase):
    """One command on the board, by the task's own connection and become."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Fail with a remedy unless the command runs as root."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        is_local = self._connection.transport == "local"
        user = str((not is_local and self._play_context.remote_user) or getpass.getuser())
        try:
            # With input there is no terminal, as for the modules of later tasks (pipelining).
            done = self._low_level_execute_command("id -u", sudoable=True, in_data=b"\n")
        except AnsibleError as error:
            message = " ".join(str(error).split())
        else:
            if done["rc"] == 0 and done["stdout"].split()[-1:] == ["0"]:
                return {**result, "changed": False}
            message = " ".join(f"{done['stderr']} {done['stdout']}".split()) or f"exit code {done['rc']}"
        host = f"{variables.get('inventory_hostname', '')} ({self._play_context.remote_addr})"
        where = "this control node" if is_local else host
        return {**result, "failed": True, "msg": f"{where}: {problem(message, user)}"}
