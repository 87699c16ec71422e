"""Make the key of backups once, and give it to its owner: into a file, or on the terminal, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail, AnsiblePromptInterrupt, AnsiblePromptNoninteractive
from ansible_collections.edge_ai.cluster.plugins.module_utils.action import Action
from ansible_collections.edge_ai.cluster.plugins.module_utils.backup.seal import (
    RECIPIENT,
    SIGNER,
    BackupError,
    age,
    has_key,
    new_key,
)
from ansible_collections.edge_ai.cluster.plugins.module_utils.files import settle, write_text

ELSEWHERE = "write -e cluster_backup_identity=PATH, a file that is made with the new key (on a USB disk, for example)"


def write_new(path: Path, text: str, away_from: list[str]) -> None:
    """The key in a new file. Raises AnsibleActionFail."""
    if folder := next((each for each in away_from if path.resolve().is_relative_to(Path(each).resolve())), ""):
        raise AnsibleActionFail(f"cluster_backup_identity: {path} is in {folder}, with what it protects: write another")
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise AnsibleActionFail(
            f"cluster_backup_identity: {path} exists, but backups have no key here yet ({RECIPIENT} and {SIGNER} in "
            "cluster_secrets_dir): restore those, or write the path of a new file"
        ) from None
    except OSError as error:
        raise AnsibleActionFail(f"cluster_backup_identity: {path} cannot be made ({error.strerror})") from None


class ActionModule(Action):
    """What Ansible asks an action plugin for."""

    def act(self, task: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Make a key where there is none."""
        secrets = Path(task["secrets"])
        try:
            age()
            if has_key(secrets) or self._task.check_mode:
                return {"changed": False, "msg": ""}
            secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = secrets / f"{SIGNER}.new"
            text, recipient = new_key(task["cluster_name"], new)
        except BackupError as error:
            raise AnsibleActionFail(str(error)) from None
        if task["identity"]:
            write_new(Path(task["identity"]).expanduser(), text, [str(secrets), *task["away_from"]])
            said = f"The key of these backups is in {task['identity']}: move it away from here"
        else:
            self.show(text)
            said = "The key of these backups was shown, and is not kept here"
        # The owner has it: from now on it is used. The recipient last, without which there is no key.
        settle(Path(f"{new}.pub"), secrets / f"{SIGNER}.pub")
        settle(new, secrets / SIGNER)
        write_text(secrets / RECIPIENT, recipient + "\n", 0o600)
        return {"changed": True, "msg": f"{said}. Without it no backup can be restored."}

    def show(self, text: str) -> None:
        """Show the key on the terminal and wait until it was stored. Raises AnsibleActionFail."""
        if constants.config.get_config_value("DEFAULT_LOG_PATH"):
            raise AnsibleActionFail(f"Ansible writes a log (log_path), which the new key must not be in: {ELSEWHERE}")
        try:
            self._display.prompt_until(
                "The key of all backups of this cluster, shown this once. Store all four lines in a file or a password "
                f"manager, not on this machine:\n\n{text}\nPress Enter when it is stored, Ctrl+C to end without a key."
            )
        except AnsiblePromptNoninteractive:
            raise AnsibleActionFail(f"there is no terminal to show the new key of backups on: {ELSEWHERE}") from None
        except AnsiblePromptInterrupt:
            raise AnsibleActionFail("interrupted before the key was stored: nothing was backed up") from None
