"""A stage of a playbook and its present task, as they are shown: which hosts, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: More hosts than these are counted, not named.
NAMED_HOSTS = 4
STOPPED = "stopped"


@dataclass(frozen=True)
class Stage:
    """A stage that runs. Replaced as a whole, since another thread draws it."""

    name: str
    started: float
    last: float | None
    check: bool = False
    hosts: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    went_on: frozenset[str] = frozenset()
    note: str = ""

    @property
    def outcome(self) -> str:
        """Of a stage that is over: its name, its hosts, and what happened to them."""
        if self.note:
            return f"{self.name}: {self.note}"
        word = "would change" if self.check else "changed"
        for some, happened in ((self.failed, "failed"), (self.changed, word)):
            if some and some == self.hosts:
                return f"{self.name}: {names(some)} ({happened})"
            if some:
                return f"{self.name}: {len(self.hosts)} hosts, {happened}: {names(some)}"
        return f"{self.name}: {names(self.hosts)} (no change)" if self.hosts else self.name


@dataclass(frozen=True)
class Task:
    """A task that runs, and the hosts it is not yet done on."""

    key: str
    name: str
    started: float
    last: float | None
    waiting: frozenset[str] = frozenset()
    retries: str = ""


def is_validation(task: Any) -> bool:
    """Whether a task of Ansible's is the validation: it runs with every limit and tag, before boards have answered."""
    return str(task.action).rpartition(".")[2] == "preflight_inventory"


def names(hosts: frozenset[str]) -> str:
    """Hosts for a line: their names, or how many they are."""
    return ", ".join(sorted(hosts)) if len(hosts) <= NAMED_HOSTS else f"{len(hosts)} hosts"
