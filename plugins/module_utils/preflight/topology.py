"""Groups and their members: is this a complete cluster, and has every board a role in it?"""

from __future__ import annotations

import re
from datetime import date

from ..k3s.keys import LABEL, LABEL_VALUE, texts
from ..k3s.version import servers_problem
from .model import CLUSTER_GROUPS, Host, Inventory, Report, Setting
from .networks import address
from .suggest import did_you_mean

# RFC 1123, one label; Kubernetes lower-cases node names, so a capital would make two names of one board.
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

# A label's name, perhaps with a prefix, and its value.
_KEY = re.compile(LABEL)
#: Set again at each start of a node.
_OF_KUBELET = ("kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch")
_VALUE = re.compile(LABEL_VALUE)


#: Taints that Traefik and the cluster's DNS tolerate.
_TOLERATED = (
    ("CriticalAddonsOnly", "NoSchedule"),
    ("CriticalAddonsOnly", "NoExecute"),
    ("node-role.kubernetes.io/control-plane", "NoSchedule"),
)

#: Groups that playbooks make in a run; a host of such a name would stand for it.
_OF_PLAYBOOKS = ("joining", "moved_from", "reset", "stopping")


def check(inventory: Inventory, report: Report) -> None:
    """Report unknown groups, invalid host names, and boards with no role, two roles or a missing counterpart."""
    _groups(inventory, report)
    if not inventory.boards():
        report.add(
            inventory.source,
            "cluster",
            None,
            "no board in the inventory",
            "write at least one board below k3s_servers, such as `pi-01: {ansible_host: 192.168.1.11}`",
        )
        return
    _control_node(inventory, report)
    for host in inventory.boards():
        _name(host, inventory, report)
        _part(host, report)
        _shared(host, inventory, report)
    _servers(inventory, report)
    _nfs(inventory, report)
    _labels(inventory, report)
    _own_labels(inventory, report)
    _taints_of_servers(inventory, report)


def _groups(inventory: Inventory, report: Report) -> None:
    extra: set[str] = set()
    for _host, setting in inventory.settings("preflight_extra_groups"):
        if isinstance(setting.value, list):
            extra |= {str(name) for name in setting.value}
    known = set(CLUSTER_GROUPS) | extra
    for group in inventory.groups.values():
        if group.name in _OF_PLAYBOOKS:
            report.add(group.place, group.name, None, "playbooks make a group of this name", "rename the group")
        elif group.name not in known:
            otherwise = f"use one of {', '.join(CLUSTER_GROUPS)}, or name a group of your own in preflight_extra_groups"
            report.add(group.place, group.name, None, "unknown group", did_you_mean(group.name, known, otherwise))


def _control_node(inventory: Inventory, report: Report) -> None:
    """An implicit localhost has no inventory_dir: stages that run on it fail."""
    instead = "ansible_connection: local, ansible_python_interpreter: '{{ ansible_playbook_python }}'"
    control = inventory.hosts.get("localhost")
    if control is None:
        local = [host.name for host in inventory.hosts.values() if host.get("ansible_connection") == "local"]
        remedy = f"rename {local[0]} to localhost" if local else f"write `localhost: {{{instead}}}` below `all: hosts:`"
        report.add(inventory.source, "localhost", None, "missing", remedy)
    elif control.get("ansible_connection") != "local":
        report.add(control.place, "localhost", None, "its connection is ssh, not local", f"write `{instead}` with it")
    elif not control.settings.get("ansible_python_interpreter"):
        problem = (
            "has no ansible_python_interpreter: its tasks would run on the system's Python, without their packages"
        )
        remedy = "write ansible_python_interpreter: '{{ ansible_playbook_python }}' with it"
        report.add(control.place, "localhost", None, problem, remedy)
    if control and (groups := ", ".join(sorted(control.groups & set(CLUSTER_GROUPS)))):
        remedy = "remove it there; where this machine is a board, give the board a name and an ansible_host of its own"
        report.add(control.place, "localhost", None, f"the control node, but in {groups}", remedy)


def _name(host: Host, inventory: Inventory, report: Report) -> None:
    if not _NAME.fullmatch(host.name):
        plain = re.sub(r"[^a-z0-9]+", "-", host.name.lower().split(".")[0]).strip("-")[:63].strip("-") or "pi-01"
        remedy = f"write {plain}"
        if address(host.name):
            remedy = f"write a name, such as pi-01, and the address in its line `ansible_host: {host.name}`"
        report.host(host, "not a host name: only a-z, 0-9 and inner hyphens, at most 63 characters (RFC 1123)", remedy)
    elif host.name in _OF_PLAYBOOKS:
        report.host(host, "playbooks make a group of this name", "rename the board")
    elif host.name in inventory.groups:
        report.host(host, "a group has the same name", "rename the board")


def _part(host: Host, report: Report) -> None:
    part = host.groups & {"k3s_servers", "k3s_agents"}
    if len(part) == 2:
        report.host(host, "in both k3s_servers and k3s_agents", "keep it in k3s_servers; a server runs workloads too")
    elif not part and "cluster" in host.groups:
        report.host(host, "in cluster, but neither in k3s_servers nor in k3s_agents", "write it below one of the two")
    elif part and "cluster" not in host.groups:
        group = next(iter(part))
        report.host(
            host, f"in {group}, but {group} is not a child of cluster", f"write {group} below `cluster: children:`"
        )
    elif part and "spare" in host.groups:
        report.host(
            host, f"in both {next(iter(part))} and spare", "remove it from spare once it is permanently in the cluster"
        )
    elif not part and not host.groups & {"spare", "nfs_servers", "training", "prediction"}:
        report.host(
            host,
            "in no group that assigns it a role",
            "write it below k3s_agents, or below spare if it is to join later",
        )


def _shared(host: Host, inventory: Inventory, report: Report) -> None:
    """The group boards, where used, contains every board: others lack the variables of group_vars/boards.yml."""
    group = next((name for name in ("cluster", "spare") if name in host.groups), None)
    if group and "boards" in inventory.groups and "boards" not in host.groups:
        report.host(
            host,
            f"in {group}, but {group} is not a child of boards, whose variables it lacks",
            f"write {group} below `boards: children:`",
        )


def _servers(inventory: Inventory, report: Report) -> None:
    servers = inventory.members("k3s_servers")
    place = inventory.group_place("k3s_servers")
    found = servers_problem(len(servers))
    if found:
        report.add(place, "k3s_servers", ", ".join(host.name for host in servers) or None, *found)


def _nfs(inventory: Inventory, report: Report) -> None:
    servers = inventory.members("nfs_servers")
    place = inventory.group_place("nfs_servers")
    if not servers:
        report.add(place, "nfs_servers", None, "no NFS server", "write the board that exports /books below nfs_servers")
    elif len(servers) > 1:
        report.add(
            place,
            "nfs_servers",
            ", ".join(host.name for host in servers),
            f"{len(servers)} NFS servers, but the cluster has one export",
            "keep one of them",
        )
    for host in servers:
        if "cluster" not in host.groups and host.name != "localhost":  # reported elsewhere
            report.host(
                host,
                "in nfs_servers, but not in cluster",
                "write it below k3s_servers or k3s_agents too, or choose a board that is",
            )


def _labels(inventory: Inventory, report: Report) -> None:
    for group in ("training", "prediction"):
        members = inventory.members(group)
        for host in members:
            if not host.groups & {"cluster", "spare", "k3s_servers", "k3s_agents"}:
                report.host(
                    host,
                    f"in {group}, but not in cluster",
                    "write it below k3s_agents too, or remove it from this group",
                )
        # A spare board carries its label into the cluster only when it joins.
        if not any(host.groups & {"cluster", "k3s_servers", "k3s_agents"} for host in members):
            report.add(
                inventory.group_place(group),
                group,
                None,
                f"no board of the cluster has role={group}, so the {group} notebook is unschedulable",
                f"write one board of the cluster below {group}",
            )
    for host in inventory.members("training"):
        if "prediction" in host.groups:
            report.host(
                host,
                "in both training and prediction, but a node has one label `role`",
                "keep it in one, prediction must run where nothing was trained",
            )


def _own_labels(inventory: Inventory, report: Report) -> None:
    """Report labels that Kubernetes refuses, and those that win over the group that a board is in."""
    for host, setting in inventory.settings("node_labels_labels"):
        for key, value in setting.value.items() if isinstance(setting.value, dict) else ():
            group = next((name for name in ("training", "prediction") if name in host.groups), None)
            if value is None or isinstance(value, bool | float | date):
                # Its text would be that of Python, such as True, which no selector looks for.
                remedy = (
                    f'write it in quotes, as "{str(value).lower()}"' if value is not None else 'write "" or a value'
                )
                report.setting(host, setting, "not text", remedy, inner=key, value=value)
            elif not _KEY.fullmatch(key) or not _VALUE.fullmatch(str(value)):
                remedy = "write letters and digits, with inner . _ and -, at most 63 characters each"
                report.setting(host, setting, "not a label of Kubernetes", remedy, inner=key, value=value)
            elif key in _OF_KUBELET:
                report.setting(
                    host, setting, "kubelet sets this label itself", "choose another name", inner=key, value=value
                )
            elif key == "role" and group and value != group:
                remedy = f"write {group}, or remove the board from {group}"
                report.setting(
                    host,
                    setting,
                    f"{host.name} is in {group}, and would not get its label",
                    remedy,
                    inner=key,
                    value=value,
                )
    for host, setting in inventory.settings("node_labels_taints"):
        seen = set()
        for index, taint in enumerate(setting.value if isinstance(setting.value, list) else []):
            each = (str(taint.get("key")), str(taint.get("effect"))) if isinstance(taint, dict) else ("", str(index))
            if each in seen:
                problem = "a second taint of this key and effect, which Kubernetes refuses"
                report.setting(host, setting, problem, "keep one of them", inner=str(index), value=taint)
            seen.add(each)
            if isinstance(taint, dict) and not (
                _KEY.fullmatch(str(taint.get("key", "key"))) and _VALUE.fullmatch(str(taint.get("value") or ""))
            ):
                remedy = "write letters and digits, with inner . _ and -, at most 63 characters each"
                report.setting(host, setting, "not a taint of Kubernetes", remedy, inner=str(index), value=taint)
    for host, setting in inventory.settings("node_labels_by_group"):
        for group, labels in setting.value.items() if isinstance(setting.value, dict) else ():
            if group not in (*inventory.groups, "all"):
                remedy = did_you_mean(group, inventory.groups, "write a group of the inventory")
                report.setting(host, setting, "there is no such group", remedy, inner=group, value=labels)
        for group in ("training", "prediction"):
            labels = setting.value.get(group) if isinstance(setting.value, dict) else None
            if not isinstance(labels, dict) or labels.get("role") != group:
                problem = f"boards in {group} would not get the label role={group}, and the notebook no board"
                report.setting(host, setting, problem, f"write {group}: {{role: {group}}}")


def _taints_of_servers(inventory: Inventory, report: Report) -> None:
    """Report taints that leave Traefik and the cluster's DNS, which run on servers, without one."""
    servers = [host.name for host in inventory.members("k3s_servers")]
    found: list[tuple[Host, Setting, str, object]] = []
    for host, setting in inventory.settings("node_labels_taints"):
        for index, taint in enumerate(setting.value if isinstance(setting.value, list) else []):
            if isinstance(taint, dict) and _keeps_off(str(taint.get("key")), str(taint.get("effect"))):
                found.append((host, setting, str(index), taint))
    for host, setting in inventory.settings("k3s_server_config"):
        for taint in texts(setting.value, "node-taint") if isinstance(setting.value, dict) else ():
            key, _, effect = taint.partition(":")
            if _keeps_off(key.partition("=")[0], effect):
                found.append((host, setting, "node-taint", taint))
    if servers and set(servers) <= {host.name for host, *_ in found}:
        for host, setting, inner, taint in found:
            if host.name in servers:
                problem = "k3s's Traefik and the cluster's DNS run on servers, and tolerate no such taint"
                remedy = "write the key CriticalAddonsOnly, or leave a server without"
                report.setting(host, setting, problem, remedy, inner=inner, value=taint)


def _keeps_off(key: str, effect: str) -> bool:
    return effect in ("NoSchedule", "NoExecute") and (key, effect) not in _TOLERATED
