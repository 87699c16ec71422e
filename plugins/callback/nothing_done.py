"""End a run in which no play had anything to do with an error: Ansible itself says "no hosts matched" and succeeds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.suggest import did_you_mean, typo_of
from ansible_collections.edge_ai.cluster.plugins.module_utils.stage import is_validation

DOCUMENTATION = """
name: nothing_done
type: aggregate
short_description: a run that did nothing is an error
description:
  - Fails a run in which --limit, --tags or the inventory's groups left no task besides the validation of the inventory,
    and shows on which hosts the playbook's plays run.
  - Fails it before anything is done with a tag that the playbook does not have, and with options that leave the
    validation out, and where it is one of several playbooks.
requirements: [enable in ansible.cfg]
"""

#: Tags of Ansible itself, which name no stage.
SPECIAL = {"all", "always", "never", "tagged", "untagged"}


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


def wrong_options(playbook: str, options: dict[str, Any], tags: Iterable[str], is_whole: bool) -> list[str]:
    """What is wrong with options of ansible-playbook, by their names, for a playbook with these tags.

    Of one that is whole, no part can be left out.
    """
    found = []
    if len(playbooks := options.get("args") or ()) > 1:
        # They would share the groups and facts that each makes.
        found.append(f"{', '.join(playbooks)}: each needs a command of its own; join those by &&")
    if options.get("start_at_task"):
        found.append("--start-at-task leaves out the validation, and what tasks before it find out: use --tags instead")
    if options.get("step"):
        found.append("--step leaves out tasks that the others need: use --tags instead")
    known = sorted(set(tags) - SPECIAL)
    remedy = f"name some of {', '.join(known)}" if known else "omit it"
    # never is not run in any case.
    for tag in sorted(set(options.get("skip_tags") or ()) & SPECIAL - {"never"}):
        found.append(f"--skip-tags {tag} leaves out the validation, or all but that: {remedy}")
    for tag in sorted(set(options.get("tags") or ()) & SPECIAL - {"all"}):
        found.append(f"--tags {tag} names no stage: {remedy}")
    for name in ("tags", "skip_tags") if is_whole else ():
        if parts := ", ".join(sorted(set(options.get(name) or ()) & set(known))):
            found.append(f"--{name.replace('_', '-')} {parts}: {playbook} changes the cluster as a whole; omit it")
    for tag in sorted(set(options.get("tags") or ()) - set(known) - SPECIAL):
        remedy = did_you_mean(tag, known, f"use {', '.join(known)}" if known else "omit it")
        found.append(f"--tags {tag}: {playbook} has no such tag; {remedy}")
    # Programs that start playbooks, such as molecule, skip tags of their own.
    for tag in sorted(set(options.get("skip_tags") or ()) - set(known) - SPECIAL):
        if meant := typo_of(tag, known):
            found.append(f"--skip-tags {tag}: {playbook} has no such tag; did you mean {meant}?")
    return found


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
        options = context.CLIARGS
        plays, tags = playbook.get_plays(), set()
        if set(options.get("tags") or ()) - {"all"} or options.get("skip_tags"):
            # As --list-tags, which takes a second of a large playbook.
            blocks = [block for play in plays for block in play.compile()]
            tags = {tag for block in blocks for task in block.get_tasks() for tag in task.tags}
        is_whole = any(play.vars.get("preflight_whole") for play in plays)
        if wrong := wrong_options(self.playbook, dict(options), tags, is_whole):
            self._display.error("Nothing was done. " + "\n  ".join(wrong), wrap_text=False)
            raise SystemExit(1)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Until it has a task, it may turn out to have none."""
        self.groups = play.get_variable_manager().get_vars(play=play).get("groups", {})
        hosts = play.hosts if isinstance(play.hosts, str) else ":".join(play.hosts)
        self.left_out.append((play.get_name(), hosts))

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Something is done, unless it only validates, or is part of a run with any tag."""
        if not is_validation(task):
            self.tasks += not ("always" in task.tags and set(context.CLIARGS.get("tags") or ()) - {"all"})
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
