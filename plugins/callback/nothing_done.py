"""End a run in which no play had anything to do with an error: Ansible itself says "no hosts matched" and succeeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: nothing_done
type: aggregate
short_description: a run that did nothing is an error
description:
  - Fails a run in which --limit, --tags or the inventory's groups left no task besides the validation of the inventory,
    and shows on which hosts the playbook's plays run.
requirements: [enable in ansible.cfg]
"""

#: Runs with every limit and every tag.
VALIDATION = "preflight_inventory"


def message(
    playbook: str, left_out: list[tuple[str, str]], options: dict[str, str], groups: dict[str, list[str]]
) -> str:
    """What was left out and why.

    Args:
        playbook: its file.
        left_out: name and hosts (a pattern) of each play that had no host or no task.
        options: value of --limit, --tags and --skip-tags, for those that were given.
        groups: the hosts of each group.
    """
    given = " ".join(f"{name} {value}" for name, value in options.items())
    reasons = [f"{playbook} did nothing: with {given or 'this inventory'} none of its plays has a host and a task."]
    reasons += [f"  {name}: runs on {hosts}" for name, hosts in left_out]
    limited = set(options.get("--limit", "").replace(":", ",").split(","))
    spare = sorted(limited & set(groups.get("spare", [])))
    if spare:
        reasons.append(
            f"  {', '.join(spare)} is in the group spare: add-node.yml -l {','.join(spare)} flashes it, and it joins."
        )
    if "--limit" in options:
        reasons.append("  Omit --limit, or name hosts of these plays in it; localhost is the control node.")
    elif given:
        reasons.append("  ansible-playbook --list-tags shows the tags.")
    else:
        reasons.append("  Add hosts to these groups of the inventory.")
    return "\n".join(reasons)


class CallbackModule(CallbackBase):
    """Counts the tasks that were started."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "nothing_done"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.playbook = ""
        self.left_out: list[tuple[str, str]] = []
        self.groups: dict[str, list[str]] = {}
        self.tasks = 0

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Another playbook of the command line begins."""
        self.playbook, self.left_out, self.tasks = Path(playbook._file_name).name, [], 0

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Until it has a task, it may turn out to have none."""
        self.groups = play.get_variable_manager().get_vars(play=play).get("groups", {})
        hosts = play.hosts if isinstance(play.hosts, str) else ":".join(play.hosts)
        self.left_out.append((play.get_name(), hosts))

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Something is done, unless it only validates."""
        if task.action.rpartition(".")[2] != VALIDATION:
            self.tasks += 1
        elif self.left_out:
            self.left_out.pop()

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Fail. Errors of a callback are only warnings; this is what no one catches."""
        # Without a play that was left out, the playbook consists of the validation alone.
        if self.tasks or not self.left_out or stats.failures or stats.dark:
            return
        options = {
            "--limit": str(context.CLIARGS.get("subset") or ""),
            "--tags": ",".join(tag for tag in context.CLIARGS.get("tags") or () if tag != "all"),
            "--skip-tags": ",".join(context.CLIARGS.get("skip_tags") or ()),
        }
        given = {name: value for name, value in options.items() if value}
        self._display.error(message(self.playbook, self.left_out, given, self.groups), wrap_text=False)
        raise SystemExit(1)
