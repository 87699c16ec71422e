"""Input of the checks (an inventory as plain data) and their output (findings)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

COMMAND_LINE = "command line (-e)"
CLUSTER_GROUPS = (
    "boards", "cluster", "k3s_servers", "k3s_agents", "nfs_servers", "training", "prediction", "spare",
)  # fmt: skip

# Names whose value is a secret itself; k3s_token_file and similar ones are paths of a file with one.
_SECRET_NAME = re.compile(
    r"(^|[_-])(token|password|passwd|secret|passphrase|(private|secret)[_-]key|pass)$|^(vpn-)?auth$"
)
# Texts that YAML reads as numbers, booleans or null when they are not quoted.
_LIKE_NO_TEXT = re.compile(r"^([-+]?\d[\d_]*(\.\d*)?|true|false|yes|no|on|off|null|~|)$", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"^K10[0-9a-f]{64}::|-----BEGIN [A-Z ]*PRIVATE KEY-----")


@dataclass(frozen=True, order=True)
class Place:
    """Where something is written: a file, relative to the user's directory, and the line (0 if unknown)."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        """FILE:LINE, as editors and compilers write it."""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, order=True)
class Finding:
    """One error: where, which key, its value as shown, what is wrong, and what to write instead."""

    place: Place
    key: str
    value: str | None
    problem: str
    remedy: str

    def __str__(self) -> str:
        """The line that the user reads."""
        subject = self.key if self.value is None else f"{self.key} = {self.value}"
        return f"{self.place}: {subject}: {self.problem}; {self.remedy}"


@dataclass(frozen=True)
class Setting:
    """The value that one variable has for one host, as it is after templating.

    `per_host` is true for a value of this host, false for one of its group. `inner` has the places of the keys of a
    dictionary. `plain` is false for a value that was encrypted or made by a template, `hidden` is true for one that is
    in an encrypted file: messages do not show it.
    """

    name: str
    value: Any
    place: Place
    per_host: bool = False
    plain: bool = True
    hidden: bool = False
    inner: dict[str, Place] = field(default_factory=dict)

    @property
    def from_command_line(self) -> bool:
        """Whether it was given for all hosts at once with -e."""
        return self.place.file == COMMAND_LINE

    def place_of(self, key: str) -> Place:
        """Where a key of a dictionary is, or the dictionary itself if that is unknown."""
        return self.inner.get(key, self.place)


@dataclass(frozen=True)
class Host:
    """A host of the inventory. `groups` has every group it is in, also through children."""

    name: str
    place: Place
    groups: frozenset[str]
    settings: dict[str, Setting]

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a variable; `default` if it is not set, or set to nothing."""
        setting = self.settings.get(name)
        return default if setting is None or setting.value is None else setting.value


@dataclass(frozen=True)
class Group:
    """A group and all its hosts, also through children."""

    name: str
    place: Place
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class Option:
    """One variable of a role as its argument_specs describe it; an option that only has a default is of type raw."""

    name: str
    type: str = "raw"
    elements: str | None = None
    choices: tuple[Any, ...] = ()
    may_be_empty: bool = False
    required: bool = False
    options: dict[str, Option] = field(default_factory=dict)


@dataclass(frozen=True)
class Inventory:
    """A whole inventory. `source` is where it comes from, named when nothing more exact can be.

    `connection` has the names of Ansible's own variables by which it reaches hosts and becomes root there.
    `of_playbooks` and `of_roles` are variables that playbooks and tasks of roles assign in a run.
    `directories` are those that Ansible reads as inventories, with everything in them.
    `unread` names variables whose template could not be evaluated for some host, so that they are in no host.
    `unreadable` is true if a file could not be read at all, so that nothing else can be checked.
    """

    source: Place
    hosts: dict[str, Host]
    groups: dict[str, Group]
    options: dict[str, Option]
    roles: tuple[str, ...]
    defaults: dict[str, Any] = field(default_factory=dict)
    of_playbooks: frozenset[str] = frozenset()
    of_roles: frozenset[str] = frozenset()
    unread: frozenset[str] = frozenset()
    unreadable: bool = False
    directories: tuple[str, ...] = ()
    connection: frozenset[str] = frozenset()

    def value(self, host: Host, name: str) -> Any:
        """What a host has of a variable, or the default of its role; a template of a role is not evaluated."""
        return host.get(name, self.defaults.get(name))

    def members(self, group: str) -> list[Host]:
        """The hosts of a group; none if there is no such group."""
        found = self.groups.get(group)
        return [self.hosts[name] for name in found.hosts] if found else []

    def boards(self) -> list[Host]:
        """Hosts that are boards of the cluster or may become one: all but the control node."""
        return [host for host in self.hosts.values() if host.name != "localhost"]

    def group_place(self, group: str) -> Place:
        """Where a group is written, or the inventory if it is nowhere."""
        return self.groups[group].place if group in self.groups else self.source

    def settings(self, name: str) -> Iterator[tuple[Host, Setting]]:
        """Each host's value of a variable, for the hosts where it is set to something."""
        for host in self.hosts.values():
            setting = host.settings.get(name)
            if setting is not None and setting.value is not None:
                yield host, setting


class Report:
    """Collects findings; the same mistake seen through several hosts of a group is one finding."""

    def __init__(self) -> None:
        self._about_settings: dict[tuple[Place, str, str | None, str, str], list[str | None]] = {}
        self._others: list[Finding] = []

    def add(self, place: Place, key: str, value: Any, problem: str, remedy: str) -> None:
        """An error that is not about one variable of one host. `value` None: there is no value to show."""
        self._others.append(Finding(place, key, None if value is None else show(value), problem, remedy))

    def host(self, host: Host, problem: str, remedy: str) -> None:
        """An error about a host itself: its name, its groups, or what is written with it."""
        self.add(host.place, host.name, None, problem, remedy)

    def here(self, key: str, problem: str, remedy: str, value: Any = None) -> None:
        """An error about the control node: what no file says, but the machine that runs Ansible has, or lacks."""
        self.add(Place("control node"), key, value, problem, remedy)

    def extend(self, findings: Iterable[Finding]) -> None:
        """Errors that were found elsewhere."""
        self._others.extend(findings)

    def setting(
        self, host: Host, setting: Setting, problem: str, remedy: str, *, inner: str | None = None, value: Any = ...
    ) -> None:
        """An error in one variable of one host; `inner` names a key or an index within it."""
        place = setting.place if inner is None else setting.place_of(inner)
        key = setting.name if inner is None else f"{setting.name}.{inner}"
        shown = "(not shown)" if setting.hidden else show_setting(key, setting.value if value is ... else value)
        entry = (place, key, shown, problem, remedy)
        self._about_settings.setdefault(entry, []).append(host.name if setting.per_host else None)

    def missing(self, host: Host, name: str, remedy: str) -> None:
        """A variable that a host requires and lacks."""
        self._others.append(Finding(host.place, f"{host.name}.{name}", None, "missing", remedy))

    def findings(self) -> list[Finding]:
        """All findings once each, in the order of files and lines."""
        result = set(self._others)
        for (place, key, shown, problem, remedy), hosts in self._about_settings.items():
            own = hosts[0] if len(hosts) == 1 else None
            result.add(Finding(place, f"{own}.{key}" if own else key, shown, problem, remedy))
        return sorted(result, key=lambda each: (each.place, each.key, each.problem, each.value or ""))


def is_secret(name: str, value: Any) -> bool:
    """True for a value that must not be in an inventory, by its variable's name or by its own form."""
    if not isinstance(value, str) or not value:
        return False
    return bool(_SECRET_NAME.search(name.rpartition(".")[2])) or bool(_SECRET_VALUE.search(value))


def show_setting(name: str, value: Any) -> str:
    """A variable's value on one line, unless it is a secret."""
    return "(not shown)" if is_secret(name, value) else show(value)


def show(value: Any) -> str:
    """A value on one line, at most 120 characters, as YAML writes it."""
    if value is None:
        return "(empty)"
    if isinstance(value, str):
        is_plain = value == value.strip() and value.isprintable() and not _LIKE_NO_TEXT.match(value)
        text = value if is_plain else json.dumps(value, ensure_ascii=False)
    else:
        text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 120 else text[:117] + "..."


def words(text: str) -> frozenset[str]:
    """The names in a text."""
    return frozenset(text.split())
