"""End a run at its beginning, with an error, while another playbook works on the same cluster."""

from __future__ import annotations

import atexit
import os
import shlex
import signal
from pathlib import Path
from typing import Any

from ansible import context
from ansible.errors import AnsibleError
from ansible.plugins.callback import CallbackBase
from ansible_collections.edge_ai.cluster.plugins.module_utils import run_lock
from ansible_collections.edge_ai.cluster.plugins.module_utils.ssh import ssh_argv
from ansible_collections.edge_ai.cluster.plugins.module_utils.stage import is_validation

DOCUMENTATION = """
name: one_run
type: aggregate
short_description: one playbook at a time on a cluster
description:
  - Locks the cluster for as long as ansible-playbook runs, on the control node and on the first server, and ends a run
    that finds it locked before it changes anything. The message has user, host, playbook and time of the other run.
  - C(--check), C(check.yml) and C(preflight.yml) change nothing, and need no lock.
  - A server that does not answer is not waited for; there is only the control node's lock then, until it does.
requirements: [enable in ansible.cfg]
"""

#: Playbooks that change nothing.
READING = ("check.yml", "preflight.yml")
#: What the locks need of the inventory.
VARIABLES = (
    "cluster_name", "cluster_secrets_dir", "ansible_connection", "ansible_host", "ansible_port", "ansible_user",
    "ansible_ssh_private_key_file", "ansible_ssh_common_args",
)  # fmt: skip
#: Seconds for the board's answer; mostly it is there when the inventory is validated.
ANSWER = 10
#: A connection of its own: Ansible's may be closed, as after a reboot.
OPTIONS = {
    "ConnectTimeout": "5", "ServerAliveInterval": "5", "ServerAliveCountMax": "3", "ControlMaster": "no",
    "ControlPath": "none",
}  # fmt: skip


class CallbackModule(CallbackBase):
    """Has the locks, because the process of its callbacks is the one that lives as long as the run."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "one_run"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.playbook = ""
        self.cluster = ""
        self.here: run_lock.ControlNodeLock | None = None
        self.there: run_lock.BoardLock | None = None

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Another playbook of the command line begins."""
        self.playbook = Path(playbook._file_name).name

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """The first play has the inventory's variables."""
        if self.here or self.playbook in READING or context.CLIARGS.get("check"):
            return
        variables = play.get_variable_manager().get_vars(play=play)
        servers = variables["groups"].get("k3s_servers")
        if not servers:
            return
        values = variables["hostvars"][servers[0]]
        try:
            known = {name: str(values[name]) for name in VARIABLES if name in values}
        except AnsibleError:
            return  # of which the validation of the inventory says more
        if "cluster_secrets_dir" not in known:
            return
        self.cluster, text = known.get("cluster_name", ""), run_lock.describe(self.playbook)
        # Beside the folder, which a backup copies.
        path = Path(known["cluster_secrets_dir"] + ".lock")
        self.here = run_lock.ControlNodeLock(path)
        try:
            holder = self.here.take(text)
        except OSError as error:
            # Of another user, or on a read-only disk; the board's lock is for those, too.
            self._display.warning(
                f"{path} cannot be locked ({error.strerror}): a run of another user of this machine is noticed only "
                f"while {servers[0]} answers"
            )
            holder = ""
        if holder:
            self.end(holder)
        if known.get("ansible_connection", "ssh") not in ("ssh", "smart"):
            return
        shell = ssh_argv(
            known.get("ansible_host", servers[0]),
            OPTIONS,
            user=known.get("ansible_user") or str(context.CLIARGS.get("remote_user") or ""),
            port=known.get("ansible_port", ""),
            key=known.get("ansible_ssh_private_key_file", ""),
            args=shlex.split(known.get("ansible_ssh_common_args", "")),
        )
        self.there = run_lock.BoardLock(shell, text, self.interrupt)
        self.there.start()
        atexit.register(self.there.release)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Something may be changed from here on, unless this only validates."""
        if self.there and not is_validation(task):
            self.there.answered.wait(ANSWER)
            if self.there.holder:
                self.end(self.there.holder)

    def end(self, holder: str) -> None:
        """End the run. Errors of a callback are only warnings; this is what no one catches."""
        self._display.error(run_lock.message(self.cluster, holder), wrap_text=False)
        raise SystemExit(1)

    def interrupt(self, holder: str) -> None:
        """Another run took the cluster while its board did not answer this one: end as with Ctrl-C."""
        text = run_lock.message(self.cluster, holder).replace(" Nothing was changed.", "")
        self._display.error(text, wrap_text=False)
        os.kill(os.getpid(), signal.SIGINT)
