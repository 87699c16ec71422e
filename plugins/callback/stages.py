"""One line for each stage of a playbook on a terminal; the whole of Ansible's output in a log file.

With -v, with --step, or where there is no terminal, Ansible's own output is on standard output as ever, with what slow
tasks took last time, and how long each stage took at its end. A stage is a play, or plays of one name in a row.
"""

from __future__ import annotations

import atexit
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible import constants, context
from ansible.plugins.callback.default import CallbackModule as Default
from ansible_collections.edge_ai.cluster.plugins.module_utils.durations import Durations
from ansible_collections.edge_ai.cluster.plugins.module_utils.stage import NAMED_HOSTS, STOPPED, Stage, Task, names

try:
    from ansible_collections.edge_ai.cluster.plugins.module_utils import screen
except ImportError:  # without rich
    screen = None  # type: ignore[assignment]

DOCUMENTATION = """
name: stages
type: stdout
short_description: one line for each stage, the whole output in a log file
description:
  - On a terminal, a line for each stage with its boards, its duration, and how long it took last time.
  - Warnings, failures and what M(ansible.builtin.debug) says are shown in full; all else is in a log file.
  - With -v, and where there is no terminal, the output is that of P(ansible.builtin.default#callback).
extends_documentation_fragment: [default_callback, result_format_callback]
requirements:
  - set as stdout in configuration
  - rich (Python package); without it, the output is as with -v
options:
  logs:
    description: Folder of the log files; a relative one in ansible.cfg begins where that file is.
    type: path
    default: results/logs
    ini: [{section: callback_stages, key: logs}]
  keep:
    description: How many log files are kept.
    type: int
    default: 20
    ini: [{section: callback_stages, key: keep}]
  durations:
    description: File that remembers durations for the next run; it may be deleted.
    type: path
    default: .ansible/durations.json
    ini: [{section: callback_stages, key: durations}]
"""

#: A task that took at least this many seconds last time is announced.
ANNOUNCE_SECONDS = 5.0
DEBUG = frozenset({"debug", "ansible.builtin.debug", "ansible.legacy.debug"})
#: What a debug task returns beside its message.
NO_MESSAGE = frozenset({"item", "ansible_loop_var", "ansible_index_var", "changed", "failed", "censored"})
PAUSE = frozenset({"pause", "ansible.builtin.pause", "ansible.legacy.pause", "edge_ai.cluster.cluster_backup_key"})
#: Asks with a secret in its question.
SECRET = "edge_ai.cluster.cluster_backup_key"


def near(path: str | Path) -> str:
    """A path as seen from where the user is."""
    found = Path(path)
    return str(found.relative_to(Path.cwd())) if found.is_relative_to(Path.cwd()) else str(found)


def reasons(result: dict[str, Any]) -> list[str]:
    """Why a task failed, as lines that are safe to show."""
    message = result.get("msg") or result.get("censored") or ""
    found = [line for each in (message if isinstance(message, list) else [message]) for line in screen.safe(each)]
    for key in ("module_stderr", "stderr", "module_stdout", "stdout"):
        if text := str(result.get(key) or "").strip():
            found += [f"{key}:", *(f"  {line}" for line in screen.safe(text)[-20:])]
    return [line for line in found if line] or ["no message"]


class CallbackModule(Default):
    """Ansible's default output, and on a terminal the stages."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "edge_ai.cluster.stages"

    def __init__(self) -> None:
        super().__init__()
        self.terminal: Any = self._display
        self._display: Any
        self.durations: Durations | None = None
        self.playbook = ""
        self.stage: Stage | None = None
        self.task: Task | None = None
        self.stages: list[tuple[str, float, float | None]] = []
        self.began = 0.0
        self.screen: Any = None
        self.log: Any = None
        self.log_fails = False
        self.progress = ""
        self.is_asking = self.is_secret = False
        self.messages: dict[str, list[str]] = {}
        self.tries: Counter[str] = Counter()
        self.end_redirection: Callable[[], None] | None = None
        atexit.register(self.close)

    # --- the screen and the log ---------------------------------------------------------------------------------------

    def open(self) -> None:
        """Take the screen, when there is one and no option asks for Ansible's own output."""
        wanted = self.terminal.verbosity == 0 and not context.CLIARGS.get("step") and sys.stdout.isatty()
        if screen is None:
            return
        if not wanted:
            screen.make_safe()
            return
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        name = f"{Path(self.playbook).stem}-{stamp}.log"
        try:
            self.log = screen.Log(Path(self.get_option("logs")), name, self.get_option("keep"))
        except OSError as error:
            self.terminal.warning(f"{error.filename}: no log can be written ({error.strerror}): all output comes here")
            screen.make_safe()
            return
        self.log_fails = False
        self.screen = screen.Screen(sys.stdout, bool(constants.ANSIBLE_NOCOLOR), self.running)
        self._display = screen.LogDisplay(self.terminal, self.write_log)
        self.end_redirection = screen.redirect(self.take_output, self.take_error)
        self.screen.show(f"Log: {near(self.log.path)} (-v shows all of it here)")

    def close(self) -> None:
        """Give the screen back; at the end of a run that was stopped, say what was running."""
        if self.screen and self.end_redirection:
            if self.stage:
                self.stage = replace(self.stage, note=STOPPED)
                self.end_stage()
                self.screen.show(f"Log: {near(self.log.path)}")
            self.screen.stop()
            self.end_redirection()
            self._display, self.screen, self.end_redirection = self.terminal, None, None
            self.log.close()

    def write_log(self, text: str) -> None:
        """Write to the log; a full disk is reported once and does not end the run."""
        if self.log_fails:
            return
        try:
            self.log.write(text)
        except OSError as error:
            self.log_fails = True
            self.screen.show(f"{near(self.log.path)} ends here: {error.strerror}", "yellow")

    def take_output(self, text: str) -> None:
        """What a plugin shows meanwhile: the last line of it is a task's progress, but a question stays."""
        if not self.is_secret:
            self.write_log(text)
        if self.task and not self.is_asking:
            # By itself, not in self.task: this is another thread than that of the events.
            self.progress = (text.strip().splitlines() or [self.progress])[-1].strip()
        else:
            self.screen.show(text.removesuffix("\n"))

    def take_error(self, text: str) -> None:
        """Warnings and errors of Ansible itself."""
        self.write_log(text)
        if sys.__stderr__ and not sys.__stderr__.isatty():
            sys.__stderr__.write(text)
        else:
            self.screen.show(text.removesuffix("\n"), "yellow")

    def running(self) -> tuple[list[Any], str]:
        """The rows of the stage and the task that run now, and what the task says."""
        stage, task, now = self.stage, self.task, time.monotonic()
        if not stage:
            return [], ""
        hosts = f": {names(stage.hosts)}" if stage.hosts else ""
        rows = [screen.Row(f"{stage.name}{hosts}", now - stage.started, stage.last)]
        if not task:
            return rows, ""
        waiting = names(task.waiting) if task.waiting != stage.hosts else ""
        rest = [each for each in (waiting, task.retries) if each]
        name = f"  {task.name}" + (f" ({', '.join(rest)})" if rest else "")
        return [*rows, screen.Row(name, now - task.started, task.last)], self.progress

    def fail(self, result: Any, what: str, ignored: bool, item: object = None) -> None:
        """Show a failure in full: task, host, where the task is written, and each line of the message."""
        host = result.host.get_name()
        if self.stage and not ignored:
            self.stage = replace(self.stage, failed=self.stage.failed | {host})
        if not self.screen:
            return
        label = "" if item is None else f" (item {item})"
        kind = f"{what}, ignored" if ignored else what
        style = "yellow" if ignored else "red"
        self.screen.show(f"{self.host_label(result)}: {kind}: {result.task.get_name().strip()}{label}", style)
        self.screen.show(reasons(result.result), indent=2)
        if not ignored:
            self.screen.show(f"Task: {near(result.task.get_path())}", "dim", 2)

    def show_messages(self) -> None:
        """Show what debug tasks said, hosts with the same message together."""
        for text, hosts in self.messages.items():
            if hosts == ["localhost"]:
                self.screen.show(text, indent=2)
            elif "\n" in text:
                self.screen.show(f"{names(frozenset(hosts))}:", indent=2)
                self.screen.show(text, indent=4)
            else:
                self.screen.show(f"{names(frozenset(hosts))}: {text}", indent=2)
        self.messages = {}

    # --- stages and tasks ---------------------------------------------------------------------------------------------

    def key(self, kind: str, name: str) -> str:
        """Key of a duration: the same task may be slow in one playbook and fast in another."""
        return f"{self.playbook}|{kind}|{name}"

    def last(self, key: str) -> float | None:
        """Seconds that a stage or task took last time."""
        return self.durations.seconds.get(key) if self.durations else None

    def remember(self, key: str, seconds: float) -> None:
        """Remember a duration; --check is no measure of a real run."""
        if self.durations and not context.CLIARGS.get("check"):
            self.durations.seconds[key] = round(seconds, 1)

    def end_task(self) -> None:
        """The task is over on all hosts."""
        if self.task:
            self.remember(self.task.key, time.monotonic() - self.task.started)
            self.task = None
        if self.screen:
            self.show_messages()

    def end_stage(self, bad: frozenset[str] | None = None) -> None:
        """The stage is over. `bad` is known at the end of a playbook only: hosts that failed, and were not rescued."""
        self.end_task()
        if not self.stage:
            return
        failed = self.stage.failed - self.stage.went_on if bad is None else self.stage.failed & bad
        stage, self.stage = replace(self.stage, failed=failed), None
        took = time.monotonic() - stage.started
        self.stages.append((stage.name, took, stage.last))
        if not stage.failed and not stage.note:
            self.remember(self.key("stage", stage.name), took)
        if self.screen:
            self.screen.stop()
            mark, style = ("✗", "red") if stage.failed or stage.note == STOPPED else ("✓", "green")
            self.screen.row(screen.Row(stage.outcome, took, stage.last, mark, style))

    def begin_task(self, task: Any) -> None:
        """A task begins on its first hosts."""
        self.end_task()
        name = task.get_name().strip()
        key = self.key("task", name)
        last = self.last(key)
        slow = last is not None and last >= ANNOUNCE_SECONDS
        if slow:
            self._display.display(f"  (took {last:.0f} s last time)", color="blue")
        # Without the name of its role: the stage says enough.
        self.task = Task(key, name.split(" : ", 1)[-1], time.monotonic(), last if slow else None)
        self.tries.clear()
        self.progress = ""
        self.is_asking, self.is_secret = task.action in PAUSE, task.action == SECRET
        if self.screen:
            if self.is_asking:
                self.screen.stop()
            else:
                self.screen.start()

    def done(self, result: Any, changed: bool = False) -> None:
        """A task is done on a host."""
        host = result.host.get_name()
        if self.task:
            self.task = replace(self.task, waiting=self.task.waiting - {host}, retries="")
        if self.stage and changed:
            self.stage = replace(self.stage, changed=self.stage.changed | {host})

    def collect(self, result: Any) -> None:
        """What a debug task says to the user, each message of a list by itself: boards often have most in common."""
        if not self.screen or result.task.action not in DEBUG:
            return
        host = result.host.get_name()
        for name, value in result.result.items():
            if name.startswith("_") or name in NO_MESSAGE:
                continue
            for each in value if isinstance(value, list) else [value]:
                said = str(each).removeprefix(f"{host}: ") if name == "msg" else f"{name}: {each}"
                hosts = self.messages.setdefault("\n".join(screen.safe(said)), [])
                if host not in hosts:
                    hosts.append(host)

    # --- events of Ansible --------------------------------------------------------------------------------------------

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Begin with the name of the log."""
        self.playbook = Path(playbook._file_name).name
        self.durations = Durations(Path(self.get_option("durations")))
        self.began = time.monotonic()
        self.open()
        super().v2_playbook_on_start(playbook)

    def v2_playbook_on_vars_prompt(self, *_: Any, **__: Any) -> None:
        """Leave the screen to a question, which comes before its play."""
        self.end_stage()

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Begin a stage, unless the play continues the one before, as each batch of `serial` does."""
        super().v2_playbook_on_play_start(play)
        name = play.get_name().strip()
        if self.stage and self.stage.name == name:
            return
        self.end_stage()
        last = self.last(self.key("stage", name))
        if last is not None and last >= ANNOUNCE_SECONDS:
            self._display.display(f"  ({name}: took {last:.0f} s last time)", color="blue")
        self.stage = Stage(name, time.monotonic(), last, bool(play.check_mode))
        if self.screen:
            if self.screen.is_dumb:
                self.screen.show(f"  {name}")
            self.screen.start()

    def v2_playbook_on_no_hosts_matched(self) -> None:
        """A stage without hosts."""
        super().v2_playbook_on_no_hosts_matched()
        if self.stage:
            self.stage = replace(self.stage, note="no hosts matched")

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Begin a task."""
        super().v2_playbook_on_task_start(task, is_conditional)
        self.begin_task(task)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Begin a handler."""
        super().v2_playbook_on_handler_task_start(task)
        self.begin_task(task)

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """A task begins on a host."""
        super().v2_runner_on_start(host, task)
        name = host.get_name()
        if self.stage:
            went_on = self.stage.went_on | (self.stage.failed & {name})
            self.stage = replace(self.stage, hosts=self.stage.hosts | {name}, went_on=went_on)
        if self.task:
            self.task = replace(self.task, waiting=self.task.waiting | {name})

    def v2_runner_on_ok(self, result: Any) -> None:
        """Done on a host."""
        super().v2_runner_on_ok(result)
        self.done(result, result.is_changed())
        if not result.task.loop:
            self.collect(result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Not needed on a host."""
        super().v2_runner_on_skipped(result)
        self.done(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Failed on a host; items of a loop have been shown one by one."""
        is_shown = result.task.loop and "results" in result.result
        super().v2_runner_on_failed(result, ignore_errors)
        self.done(result)
        if not is_shown:
            self.fail(result, "failed", ignore_errors)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """A host does not answer."""
        super().v2_runner_on_unreachable(result)
        self.done(result)
        self.fail(result, "unreachable", bool(result.task.ignore_unreachable))

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """One item is done."""
        super().v2_runner_item_on_ok(result)
        self.collect(result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        """One item failed."""
        super().v2_runner_item_on_failed(result)
        self.fail(result, "failed", bool(result.task.ignore_errors), self._get_item_label(result.result))

    def v2_runner_retry(self, result: Any) -> None:
        """Tried, and not yet there. Tries are counted here: releases of ansible-core number them differently."""
        super().v2_runner_retry(result)
        host = result.host.get_name()
        self.tries[host] += 1
        if self.task:
            tried = f"{host} attempt {self.tries[host] + 1} of {result.result['retries']}"
            self.task = replace(self.task, retries=tried)

    def v2_on_file_diff(self, result: Any) -> None:
        """Show differences where they were asked for with --diff."""
        super().v2_on_file_diff(result)
        if not self.screen or not context.CLIARGS.get("diff"):
            return
        for each in result.result["results"] if result.task.loop and "results" in result.result else [result.result]:
            if each.get("diff") and each.get("changed") and (diff := self._get_diff(each["diff"])):
                self.screen.show(f"{self.host_label(result)}: {result.task.get_name().strip()}")
                self.screen.show(screen.plain(diff).rstrip("\n"), indent=2)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """End with how long each stage took, and what became of the hosts."""
        counts = {host: stats.summarize(host) for host in sorted(stats.processed)}
        bad = [host for host, found in counts.items() if found["failures"] or found["unreachable"]]
        changed = {host: found["changed"] for host, found in counts.items() if found["changed"]}
        self.end_stage(frozenset(bad))
        super().v2_playbook_on_stats(stats)
        self._display.banner("STAGES")
        for name, took, last in self.stages:
            before = f"   last time {last:6.1f} s" if last is not None else ""
            self._display.display(f"{name:<44} {took:7.1f} s{before}")
        total = sum(took for _, took, _ in self.stages)
        self._display.display(f"{'together':<44} {total:7.1f} s")
        self.stages = []
        if self.durations:
            with suppress(OSError):
                self.durations.save()
        if self.screen:
            self.recap(bad, changed)
            self.close()

    def recap(self, bad: list[str], changed: dict[str, int]) -> None:
        """What became of the hosts, in a line or two."""
        took = f"{time.monotonic() - self.began:.0f} s"
        word = "would change" if context.CLIARGS.get("check") else "changed"
        found = ", ".join(f"{host} ({count})" for host, count in changed.items()) or "nothing"
        if len(changed) > NAMED_HOSTS:
            found = f"{len(changed)} hosts ({sum(changed.values())})"
        rest = f"{word}: {found}"
        if bad:
            self.screen.show(f"Failed after {took} on {', '.join(bad)}; {rest}", "red")
            self.screen.show(f"Log: {near(self.log.path)}")
        else:
            self.screen.show(f"Done in {took}; {rest}", "green")
