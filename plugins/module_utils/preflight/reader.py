"""An inventory as Ansible loaded it, turned into plain data."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.config.manager import ensure_type
from ansible.errors import AnsibleError
from ansible.inventory.host import Host as AnsibleHost
from ansible.inventory.manager import InventoryManager
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import become_loader, connection_loader, shell_loader
from ansible.template import Templar
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

from ..values import has_template, is_encrypted, plain
from .files import Written, inventory_files
from .files import read as read_files
from .model import COMMAND_LINE, Finding, Group, Host, Inventory, Place, Setting, show_setting
from .specs import load_assigned, load_options
from .suggest import did_you_mean

_MAGIC = re.compile(
    r"^(ansible_(check_mode|config_file|diff_mode|facts|forks|inventory_sources|limit|local|playbook_python|run_tags"
    r"|skip_tags|verbosity|version)|group_names|groups|hostvars|inventory_.*"
    r"|omit|playbook_dir)$"
)
_UNDEFINED = re.compile(r"'(\w+)' is undefined")
# What a play, a role or a loop defines, and an inventory has not.
_OF_A_RUN = re.compile(
    r"^(_.*|item|play_hosts|role_\w+|ansible_(check_mode|diff_mode|limit|loop\w*|play_\w+|parent_role\w*|role\w*|run_tags"
    r"|search_path|skip_tags))$"
)
#: Variables of a connection that none of its plugins has; with another name, Ansible uses its default instead.
_OF_NO_PLUGIN = (
    "ansible_become", "ansible_become_method", "ansible_connection", "ansible_python_interpreter",
    "ansible_shell_executable", "ansible_shell_type", "ansible_ssh_control_path_dir", "ansible_timeout",
)  # fmt: skip
_FACT = re.compile(r"\bansible_facts\b")


class Reader:
    """Reads what Ansible's managers hold. `base` is the directory that names of files are shown relative to."""

    def __init__(
        self,
        inventory: InventoryManager,
        variables: VariableManager,
        loader: DataLoader,
        roles_dir: Path,
        base: Path,
    ) -> None:
        self._inventory = inventory
        self._variables = variables
        self._loader = loader
        self._roles_dir = roles_dir
        self._base = base
        self._findings: list[Finding] = []
        self._written = Written()
        self._names: set[str] = set()
        self._unread: set[str] = set()

    def read(self) -> tuple[Inventory, list[Finding]]:
        """The inventory, and what was found wrong while reading it (syntax, duplicates, undefined variables)."""
        if self._variables._hostvars is None:
            HostVars(self._inventory, self._variables, self._loader)  # registers itself: templates use hostvars
        # `-i pi-01,` is a list of hosts, not a file.
        sources = [Path(source) for source in self._inventory._sources if "," not in source or Path(source).exists()]
        files = [path for source in sources for path in inventory_files(source)]
        self._written = read_files(sources, self._named)
        self._note_unparsed(sources, files)
        source = Place(", ".join(self._named(path) for path in files or sources) or "inventory")
        if self._written.unreadable:
            return Inventory(source, {}, {}, {}, (), unreadable=True), self._written.findings
        options, roles = load_options(self._roles_dir)
        defaults = self._defaults(roles)
        raw = {name: self._own_variables(host) for name, host in self._inventory.hosts.items()}
        self._names = set(options) | {name for variables in raw.values() for name in variables}
        hosts = {
            name: Host(
                name=name,
                place=self._first(self._written.hosts.get(name), source),
                groups=frozenset(group.name for group in host.get_groups()),
                settings=self._settings(host, raw[name], defaults, source),
            )
            for name, host in self._inventory.hosts.items()
        }
        groups = {
            name: Group(
                name=name,
                place=self._first(self._written.groups.get(name), source),
                hosts=tuple(host.name for host in group.get_hosts()),
            )
            for name, group in self._inventory.groups.items()
            if name not in ("all", "ungrouped")
        }
        magic = [name for name in self._variables.extra_vars if _MAGIC.match(name)]
        words = self._variables.extra_vars.get("_raw_params")
        remedy = 'write NAME=VALUE without blanks, or as JSON: -e \'{"NAME": "VALUE"}\''
        findings = [
            *([Finding(Place(COMMAND_LINE), "-e", str(words), "a part that sets nothing", remedy)] if words else []),
            *[Finding(Place(COMMAND_LINE), name, None, "Ansible sets it itself", "omit it") for name in magic],
            *self._written.findings,
            *self._written.unowned_files(set(self._inventory.groups), set(self._inventory.hosts)),
            *dict.fromkeys(self._findings),
        ]
        directories = tuple(str(path.absolute()) for path in sources if path.is_dir())
        unread = frozenset(self._unread)
        assigned = load_assigned(self._roles_dir.parent)
        connection = frozenset({*_of_plugins(), *_OF_NO_PLUGIN})
        found = Inventory(
            source,
            hosts,
            groups,
            options,
            roles,
            defaults,
            *assigned,
            unread,
            directories=directories,
            connection=connection,
        )
        return found, findings

    def _note_unparsed(self, sources: list[Path], files: list[Path]) -> None:
        """Files that Ansible could not read: it only warns, and goes on without their hosts."""
        for path in [each for each in sources if not os.path.lexists(each)]:
            self._written.unreadable_at(
                Place(self._named(path)), "inventory", "there is no such file", "correct the path that is given with -i"
            )
        for path in [each for each in sources if each.is_dir() and not inventory_files(each)]:
            # Of a variable of the environment; names that Ansible leaves out by itself end otherwise.
            for left_out in [each for each in sorted(path.iterdir()) if each.suffix in (".yml", ".yaml", ".json")]:
                self._written.unreadable_at(
                    Place(self._named(left_out)),
                    "inventory",
                    "left out by ANSIBLE_INVENTORY_IGNORE or ANSIBLE_INVENTORY_IGNORE_REGEX",
                    "unset them",
                )
        parsed = {str(each) for each in self._inventory._inventory.processed_sources}
        for path in [] if self._written.unreadable else files:
            if str(path.absolute()) not in parsed:
                self._written.unreadable_at(
                    Place(self._named(path)),
                    "inventory",
                    "Ansible cannot read this file, and its first warnings say why",
                    "correct it, or move it to another directory",
                )

    def _named(self, path: Path) -> str:
        full = path.absolute()
        return str(full.relative_to(self._base)) if full.is_relative_to(self._base) else str(full)

    def _defaults(self, roles: tuple[str, ...]) -> dict[str, Any]:
        """All roles' defaults: an inventory's templates may use a variable that it leaves at its default."""
        merged: dict[str, Any] = {}
        for role in roles:
            path = self._roles_dir / role / "defaults" / "main.yml"
            if path.is_file():
                # Without a copy (unsafe), which takes longer than all else here: nothing changes what it is given.
                merged |= self._loader.load_from_file(str(path), unsafe=True, trusted_as_template=True) or {}
        return merged

    def _own_variables(self, host: AnsibleHost) -> dict[str, Any]:
        """A host's variables by Ansible's own precedence, less what is no part of an inventory: facts and magic."""
        found: dict[str, Any] = self._variables.get_vars(host=host, include_hostvars=False)
        facts = set(self._variables._nonpersistent_fact_cache.get(host.name, {}))
        with contextlib.suppress(KeyError):  # nothing is cached of this host
            facts |= set(self._variables._fact_cache.get(host.name))
        return {
            name: value
            for name, value in found.items()
            if not _MAGIC.match(name) and (name not in facts or name in self._variables.extra_vars)
        }

    def _settings(
        self, host: AnsibleHost, raw: dict[str, Any], defaults: dict[str, Any], source: Place
    ) -> dict[str, Setting]:
        everything = defaults | self._variables.get_vars(host=host)
        templar = Templar(self._loader, variables=everything)
        settings = {}
        for name, value in raw.items():
            place, own = self._place(host, name, source)
            templated = has_template(value)
            if templated and "playbook_dir" in str(value):
                problem = "uses playbook_dir, which is another one for site.yml than for a playbook in playbooks/"
                remedy = "write inventory_dir or cluster_root instead"
                self._findings.append(Finding(place, f"{host.name}.{name}" if own else name, None, problem, remedy))
            encrypted = is_encrypted(value)
            try:
                evaluated = plain(templar.template(value) if templated or encrypted else value)
            except AnsibleError as error:
                # Validating an inventory does not need its password.
                if encrypted:
                    settings[name] = Setting(
                        name, None, place, own, plain=False, hidden=True, inner=self._written.inner.get(place, {})
                    )
                    continue
                self._unread.add(name)
                self._note_undefined(host, name, str(value), place, own, error)
                continue
            settings[name] = Setting(
                name=name,
                value=evaluated,
                place=place,
                per_host=own or (templated and place.file != COMMAND_LINE),
                plain=not templated and not encrypted and place.file not in self._written.encrypted,
                hidden=encrypted or place.file in self._written.encrypted,
                inner=self._written.inner.get(place, {}),
            )
        self._note_mistyped(host, settings)
        return settings

    def _note_mistyped(self, host: AnsibleHost, settings: dict[str, Setting]) -> None:
        """Variables of Ansible's own plugins whose text it could not convert, or would take for false."""
        for name, (kind, choices) in _of_plugins().items():
            setting = settings.get(name)
            is_free = kind not in ("int", "float", "bool") and not choices
            if setting is None or setting.value is None or is_free or name == "ansible_port":
                continue
            try:
                boolean(setting.value) if kind == "bool" else ensure_type(setting.value, kind)
                problem, remedy = "not one of its choices", f"use {' or '.join(map(str, choices))}"
                if not choices or setting.value in choices:
                    continue
            except (TypeError, ValueError):
                problem, remedy = "not true or false", "write true or false"
                if kind != "bool":
                    problem, remedy = "not a number", "write a number"
            key = f"{host.name}.{name}" if setting.per_host else name
            self._findings.append(Finding(setting.place, key, show_setting(name, setting.value), problem, remedy))

    def _note_undefined(
        self, host: AnsibleHost, name: str, text: str, place: Place, own: bool, error: AnsibleError
    ) -> None:
        """A template that cannot have a value is an error; one that needs what a run makes is left to its role."""
        message = " ".join(str(error).splitlines()[0].split())
        unknown = _UNDEFINED.search(message)
        if "yntax error in template" in message or "TemplateSyntaxError" in message:
            detail = message.rpartition("template: ")[2].rstrip(".")
            problem, remedy = f"the template is not well formed ({detail})", "correct the text between {{ and }}"
        elif "ecursive loop" in str(error) or "recursion depth" in str(error):
            problem, remedy = "the template uses itself, perhaps through others", "write a value, or delete the line"
        elif unknown and (unknown[1] in self._names or _OF_A_RUN.match(unknown[1])):
            return
        elif _FACT.search(text) or (unknown and unknown[1].startswith("ansible_")):
            problem, remedy = "uses a fact of the board, and no stage gathers facts", "write the value itself"
        elif unknown:
            problem = f"uses {unknown[1]}, which is undefined"
            remedy = did_you_mean(unknown[1], self._names, f"define {unknown[1]} in the inventory")
        elif "cluster_" in text and "lookup plugin" in message:
            return  # a file that a stage may make
        elif "decrypt" in str(error):
            return  # validating an inventory does not need its password
        else:
            problem, remedy = f"the template has no value ({message})", "correct it, or write the value itself"
        self._findings.append(Finding(place, f"{host.name}.{name}" if own else name, None, problem, remedy))

    def _place(self, host: AnsibleHost, name: str, source: Place) -> tuple[Place, bool]:
        """(where a host's variable is written, whether it is the host's own rather than its group's)."""
        if name in self._variables.extra_vars:
            return Place(COMMAND_LINE), False
        if own := self._written.of_host(host.name, name):
            return own, True
        groups = sorted(host.get_groups(), key=lambda group: (group.depth, group.priority, group.name))
        return self._written.of_groups([group.name for group in groups], name) or source, False

    @staticmethod
    def _first(places: list[Place] | None, otherwise: Place) -> Place:
        return places[0] if places else otherwise


@functools.cache
def _of_plugins() -> dict[str, tuple[str, tuple[Any, ...]]]:
    """Type and choices of the variables of the plugins by which boards are reached."""
    found = {}
    for kind, name, loader in (
        ("connection", "ssh", connection_loader), ("become", "sudo", become_loader), ("shell", "sh", shell_loader),
    ):  # fmt: skip
        loader.get(name, class_only=True)  # has its options read
        for option in constants.config.get_configuration_definitions(kind, name).values():
            short = {"integer": "int", "boolean": "bool"}.get(option.get("type", "str"), option.get("type", "str"))
            for variable in option.get("vars") or ():
                if variable["name"].startswith("ansible_"):
                    found[variable["name"]] = (short, tuple(option.get("choices") or ()))
    return found
