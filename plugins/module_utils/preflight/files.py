"""Inventory files read as text: what is on which line, and what Ansible would drop silently.

Ansible merges files into variables and keeps the last of two equal keys; only the files themselves show it.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import yaml
from ansible.errors import AnsibleError
from ansible.inventory.manager import IGNORED
from ansible.parsing.utils.addresses import parse_address
from ansible.plugins.inventory import detect_range, expand_hostname_range

from .model import Finding, Place
from .suggest import did_you_mean

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INI_SECTION = re.compile(r"^\[([^:\]]+)(?::(vars|children))?\]\s*(?:[#;].*)?$")
#: How files of group_vars and host_vars end, in the order in which Ansible looks for them: it reads the first alone.
_VARIABLE_FILES = ("", ".yml", ".yaml", ".json")
#: Ends of files that were meant to be read; other ones are those of copies and notes.
_MISNAMED = (".ini", ".cfg", ".conf", ".toml", ".txt", ".vars", ".env")
#: Placeholder for the names in an encrypted file.
ENCRYPTED = ""
_Key = TypeVar("_Key", str, tuple[str, str])


@dataclass
class Written:
    """Where groups, hosts and their variables are written, and the findings of reading the files.

    `inner` has, for the place of a variable that is a dictionary, where the values of its keys are. `variable_files`
    are the files of group_vars and host_vars, which win over the inventory's own file; `misnamed` are owner and place
    of those that Ansible does not read for their ends. A file that is encrypted as a whole is a setting of the name
    ENCRYPTED, and one of `encrypted`.
    `unreadable` is true if Ansible drops a whole file or stops at it, so that what it loaded is not what is written.
    """

    groups: dict[str, list[Place]] = field(default_factory=dict)
    hosts: dict[str, list[Place]] = field(default_factory=dict)
    host_settings: dict[tuple[str, str], list[Place]] = field(default_factory=dict)
    group_settings: dict[tuple[str, str], list[Place]] = field(default_factory=dict)
    files_of_groups: dict[str, Place] = field(default_factory=dict)
    files_of_hosts: dict[str, Place] = field(default_factory=dict)
    inner: dict[Place, dict[str, Place]] = field(default_factory=dict)
    variable_files: set[str] = field(default_factory=set)
    misnamed: list[tuple[str, Place]] = field(default_factory=list)
    encrypted: set[str] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)
    unreadable: bool = False

    def note_inner(self, place: Place, value: yaml.Node) -> None:
        """Record where the values of a dictionary are."""
        if isinstance(value, yaml.MappingNode):
            self.inner[place] = {
                str(key.value): Place(place.file, item.start_mark.line + 1) for key, item in value.value
            }

    def note_host(self, pattern: str, settings: dict[str, Place], place: Place) -> None:
        """Record the hosts of a line; one whose variable is set in another line too is an error."""
        for host in host_names(pattern):
            _note(self.hosts, host, place)
            for name, at in settings.items():
                before = self.host_settings.get((host, name), [])
                if before and before[0] != at:
                    problem, remedy = (
                        f"written twice, first at {before[0]}",
                        "keep one of them, Ansible silently drops the other",
                    )
                    self.findings.append(Finding(at, f"{host}.{name}", None, problem, remedy))
                _note(self.host_settings, (host, name), at)

    def of_host(self, host: str, name: str) -> Place | None:
        """Where the host's own value of a variable is written, by Ansible's precedence; None if it has none."""
        return self._winner([(0, place) for place in self._settings(self.host_settings, host, name)])

    def of_groups(self, groups: list[str], name: str) -> Place | None:
        """The same for the value that a host has by its groups, which come in rising precedence."""
        return self._winner(
            [(rank, p) for rank, group in enumerate(groups) for p in self._settings(self.group_settings, group, name)]
        )

    @staticmethod
    def _settings(settings: dict[tuple[str, str], list[Place]], owner: str, name: str) -> list[Place]:
        return settings.get((owner, name)) or settings.get((owner, ENCRYPTED)) or []

    def _winner(self, places: list[tuple[int, Place]]) -> Place | None:
        """The last of the places by file, rank and order; a file of variables overrides the inventory's own."""
        ranked = [(p.file in self.variable_files, rank, order, p) for order, (rank, p) in enumerate(places)]
        return max(ranked, key=lambda each: each[:3])[3] if ranked else None

    def unreadable_at(self, place: Place, key: str, problem: str, remedy: str) -> None:
        """Record an error with which Ansible drops the file or stops."""
        self.unreadable = True
        self.findings.append(Finding(place, key, None, problem, remedy))

    def unowned_files(self, groups: set[str], hosts: set[str]) -> list[Finding]:
        """Files in group_vars or host_vars that Ansible never reads: by their names, or of no group or host."""
        found = []
        for name, place in self.misnamed:
            if name in groups | hosts | {"all"}:
                problem = "not read: Ansible reads files that end in .yml, .yaml or .json"
                found.append(Finding(place, name, None, problem, "rename it, and write YAML in it"))
        for kind, files, known in (
            ("group", self.files_of_groups, groups | {"all", "ungrouped"}),
            ("host", self.files_of_hosts, hosts),
        ):
            for name, place in files.items():
                if name not in known:
                    remedy = f"name the file after a {kind} of the inventory, or delete it"
                    if kind == "group":  # pi-04 is not a typo of pi-01
                        remedy = did_you_mean(name, known, remedy)
                    found.append(Finding(place, name, None, f"the inventory has no {kind} of this name", remedy))
        return found


def read(sources: list[Path], named: Callable[[Path], str]) -> Written:
    """Read the files of these inventory sources (files or directories). `named` returns a file's name in messages."""
    written = Written()
    for source in sources:
        for path in filter(Path.is_file, inventory_files(source)):
            _read_hosts_file(path, named(path), written)
        base = source if source.is_dir() else source.parent
        for folder, files, settings in (
            ("group_vars", written.files_of_groups, written.group_settings),
            ("host_vars", written.files_of_hosts, written.host_settings),
        ):
            for owner, path in _variable_files(base / folder, named, written):
                files.setdefault(owner, Place(named(path)))
                written.variable_files.add(named(path))
                _read_variables_file(path, named(path), owner, settings, written)
    return written


def inventory_files(source: Path) -> list[Path]:
    """The files of an inventory source that contain groups and hosts."""
    if not source.is_dir():
        return [source] if os.path.lexists(source) else []
    paths = [path for path in sorted(source.iterdir()) if not IGNORED.search(os.fsencode(path.name))]
    return [file for path in paths for file in inventory_files(path)]


def host_names(pattern: str) -> list[str]:
    """The hosts that a name, a name with a port (pi-01:22) or a range (pi-[01:03]) stands for."""
    try:
        name = parse_address(pattern, allow_ranges=True)[0] or pattern
        return expand_hostname_range(name) if detect_range(name) else [name]
    except AnsibleError:
        return [pattern]


def _variable_files(folder: Path, named: Callable[[Path], str], written: Written) -> list[tuple[str, Path]]:
    """(owner, file) pairs of group_vars or host_vars, as Ansible reads them; an owner may be a folder of files."""
    read: dict[str, Path] = {}
    found: list[tuple[str, Path]] = []
    for end in _VARIABLE_FILES:
        for path in _visible(folder):
            owner = path.name.removesuffix(end)
            if (path.suffix if path.is_file() else "") != end:
                continue
            if first := read.get(owner):
                problem = f"not read: Ansible reads {named(first)} instead of it"
                remedy = "move it into that directory" if first.is_dir() else "move what it says into that file"
                written.unreadable_at(Place(named(path)), owner, problem, remedy)
                continue
            read[owner] = path
            found += [(owner, each) for each in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    for path in _visible(folder):
        of_folder = sorted(path.rglob("*")) if path.is_dir() else [path]
        misnamed = [each for each in of_folder if each.is_file() and each.suffix in _MISNAMED]
        written.misnamed += [(path.name.split(".")[0], Place(named(each))) for each in misnamed]
    return sorted((owner, path) for owner, path in found if path.is_file() and path.suffix in _VARIABLE_FILES)


def _visible(folder: Path) -> list[Path]:
    """What is in a directory, without hidden files and an editor's copies; nothing if there is none."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in paths if not path.name.startswith(".") and not path.name.endswith("~")]


def _compose(path: Path, name: str, written: Written) -> yaml.Node | None:
    """The file's YAML tree, with syntax errors and duplicate keys recorded; None if there is nothing to walk."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if _is_vault(text):
        return None
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or "cannot be read"
        place = Place(name, mark.line + 1 if mark else 0)
        written.unreadable_at(place, "YAML", str(what), "correct the syntax of this line or of the one before it")
        return None
    if node is not None:
        _note_duplicates(node, name, "", written)
    return node


def _is_vault(text: str) -> bool:
    return text.startswith("$ANSIBLE_VAULT;")


def _note_duplicates(node: yaml.Node, name: str, within: str, written: Written) -> None:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _note_duplicates(item, name, within, written)
    if not isinstance(node, yaml.MappingNode):
        return
    first: dict[str, int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        line = key.start_mark.line + 1
        label = f"{within}.{key.value}" if within else str(key.value)
        if key.value in first and key.value != "<<":
            written.findings.append(
                Finding(
                    Place(name, line),
                    label,
                    None,
                    f"written twice, first in line {first[key.value]}",
                    "keep one of them, Ansible silently drops the first",
                )
            )
        first.setdefault(key.value, line)
        _note_duplicates(value, name, label, written)


def _read_variables_file(
    path: Path, name: str, owner: str, settings: dict[tuple[str, str], list[Place]], written: Written
) -> None:
    node = _compose(path, name, written)
    if node is None:
        if _is_vault(path.read_text(encoding="utf-8", errors="replace")):
            _note(settings, (owner, ENCRYPTED), Place(name))
            written.encrypted.add(name)
        return
    if _is_empty(node):
        return
    if not isinstance(node, yaml.MappingNode):
        written.unreadable_at(Place(name, 1), owner, "not a mapping", "write lines `name: value`")
        return
    for key, value in _entries(node):
        place = Place(name, key.start_mark.line + 1)
        _note(settings, (owner, key.value), place)
        written.note_inner(place, value)


def _read_hosts_file(path: Path, name: str, written: Written) -> None:
    if os.access(path, os.X_OK) and path.read_bytes().startswith(b"#!"):
        return  # a program that prints an inventory
    if path.suffix in (".yml", ".yaml", ".json"):
        node = _compose(path, name, written)
        if isinstance(node, yaml.MappingNode):
            if any(key.value == "plugin" and isinstance(body, yaml.ScalarNode) for key, body in node.value):
                return  # the configuration of an inventory plugin, such as constructed
            for group, body in node.value:
                _walk_group(group, body, name, written)
        elif node is not None:
            written.unreadable_at(
                Place(name, 1), "inventory", "not a mapping", "write groups as keys, such as `cluster:`"
            )
    elif path.suffix in ("", ".ini"):
        _read_ini(path, name, written)


def _is_name(node: yaml.Node, name: str, written: Written) -> bool:
    """Whether a key is a text. With another one, such as 3 or on, Ansible drops the whole file."""
    if node.tag == "tag:yaml.org,2002:str":
        return True
    remedy = f"write it in quotes, or better a name such as pi-{node.value}"
    written.unreadable_at(Place(name, node.start_mark.line + 1), str(node.value), "not a name for YAML", remedy)
    return False


def _walk_group(group: yaml.Node, body: yaml.Node, name: str, written: Written) -> None:
    if not _is_name(group, name, written):
        return
    place = Place(name, group.start_mark.line + 1)
    written.groups.setdefault(group.value, []).append(place)
    if _is_empty(body):
        return
    if not isinstance(body, yaml.MappingNode):
        written.unreadable_at(
            place, group.value, "not a mapping", "write `hosts:`, `vars:` or `children:` below the group"
        )
        return
    for section, content in body.value:
        at = Place(name, section.start_mark.line + 1)
        label = f"{group.value}.{section.value}"
        if section.value not in ("hosts", "vars", "children"):
            known = ("hosts", "vars", "children")
            remedy = did_you_mean(section.value, known, "a group has only hosts, vars and children")
            written.unreadable_at(at, label, "not a section of a group", remedy)
        elif _is_empty(content):
            continue
        elif not isinstance(content, yaml.MappingNode):
            written.unreadable_at(at, label, "not a mapping", "write each name on a line of its own, as `name:`")
        elif section.value == "children":
            for child, child_body in content.value:
                _walk_group(child, child_body, name, written)
        elif section.value == "vars":
            for key, value in _entries(content):
                at = Place(name, key.start_mark.line + 1)
                _note(written.group_settings, (group.value, key.value), at)
                written.note_inner(at, value)
        else:
            # A name written twice in one place is reported as such; its settings need not be compared too.
            for host, settings in {host.value: (host, settings) for host, settings in content.value}.values():
                _walk_host(host, settings, name, written)


def _walk_host(host: yaml.Node, settings: yaml.Node, name: str, written: Written) -> None:
    if not _is_name(host, name, written):
        return
    at = Place(name, host.start_mark.line + 1)
    places: dict[str, Place] = {}
    if isinstance(settings, yaml.MappingNode):
        for key, value in _entries(settings):
            places[key.value] = Place(name, key.start_mark.line + 1)
            written.note_inner(places[key.value], value)
    elif not _is_empty(settings):
        written.unreadable_at(at, host.value, "not a mapping", "write lines `name: value` below it")
    written.note_host(host.value, places, at)


def _entries(mapping: yaml.MappingNode) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """Keys and values of a mapping, after those that it has by `<<`."""
    own = []
    for key, value in mapping.value:
        if key.value == "<<":
            for each in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                yield from _entries(each) if isinstance(each, yaml.MappingNode) else ()
        else:
            own.append((key, value))
    yield from own


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _note(table: dict[_Key, list[Place]], key: _Key, place: Place) -> None:
    table.setdefault(key, []).append(place)


def _read_ini(path: Path, name: str, written: Written) -> None:
    """Ansible's INI inventories: only names and lines are taken, Ansible itself reads the values."""
    group, kind = "ungrouped", ""
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        text = line.strip()
        if not text or text[0] in "#;":
            continue
        place = Place(name, number)
        section = _INI_SECTION.match(text)
        if section:
            group, kind = section[1], section[2] or ""
            _note(written.groups, group, place)
        elif kind == "children":
            _note(written.groups, text.split()[0], place)
        elif kind == "vars":
            _note(written.group_settings, (group, text.split("=")[0].strip()), place)
        else:
            host, *settings = _split(text)
            names = [each.split("=")[0] for each in settings if "=" in each]
            written.note_host(host, dict.fromkeys(names, place), place)


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # a quote that is not closed, at which Ansible stops
        return line.split()
