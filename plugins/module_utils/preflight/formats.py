"""Texts of a certain form: what a stage in the middle of a run would refuse, or write into a file that is not read."""

from __future__ import annotations

import re

from ..backup.place import REMOTE
from ..k3s.keys import IPV4
from .model import Inventory, Report
from .suggest import did_you_mean

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
#: An IPv4 address or a name, whose last part has a letter.
_HOST = rf"{IPV4}|(?=.{{1,253}}\Z)({_LABEL}\.)*(?=[0-9-]*[a-z]){_LABEL}"
#: Of an address that is written for other boards.
_REACHED = rf"(?!127\.|0\.|localhost\Z)({_HOST})"
#: Of an option of the kernel; a second one of these would replace that of the card.
_TOKEN = r"(?!(root|rootfstype|init|cgroup_disable)=)"
_IMAGE = r"[a-z0-9]+([._/-]+[a-z0-9]+)*(:[0-9]+/[a-z0-9]+([._/-]+[a-z0-9]+)*)?"
_TIME = r"[0-9]+ ?(us|ms|s|sec|m|min|h|hour|hours)?"
#: Of each variable: the form of the whole text, or of each item of a list; what is wrong otherwise; what to write.
FORMATS: dict[str, tuple[str, str, str]] = {
    "cluster_backup_copy_to": (
        rf"([/~].*|{REMOTE})?",
        "neither the full path of a directory nor a place for sftp",
        "write such as /media/disk, or nas@192.168.1.5:backups (letters, digits, and . _ / -)",
    ),
    "container_image_base": (
        r"(localhost/.+|.+@sha256:[0-9a-f]{64})?",
        "not pinned by the digest of its index",
        "write it as NAME:TAG@sha256:... (docker/README.md)",
    ),
    "container_image_name": (
        _IMAGE,
        "not a name of an image without its tag",
        "write such as localhost/edge-ai/tensorflow-jupyter",
    ),
    "container_image_hub_name": (
        _IMAGE,
        "not a name of an image without its tag",
        "write such as localhost/edge-ai/hub",
    ),
    "container_image_lite_name": (
        _IMAGE,
        "not a name of an image without its tag",
        "write such as localhost/edge-ai/litert",
    ),
    "cluster_check_namespace": (r"edge-ai", "not the namespace in which playbooks make everything", "delete it"),
    "flash_cmdline": (
        rf"{_TOKEN}.*",
        "would replace what the card says of its own root, or switch off what k3s needs",
        "delete it",
    ),
    "flash_interface": (
        r"[A-Za-z][A-Za-z0-9_-]{0,14}",
        "not a name of a wired interface itself",
        "write the one that `ip link` shows on the board, such as eth0",
    ),
    "flash_user_groups": (r"[a-z_][a-z0-9_-]*", "not a name of a group", "write such as adm"),
    "k3s_api_address": (
        # k3s asks DNS alone.
        rf"(?!.*\.local\Z){_REACHED}",
        "not an address or a name by which boards reach a server",
        "write it without https:// and without a port, such as 192.168.1.11; k3s has no names of mDNS (.local)",
    ),
    "k3s_drain_emptydir_namespaces": (_LABEL, "not a name of a namespace", "write such as edge-ai"),
    "k3s_node_name": (
        rf"(?=.{{1,63}}\Z){_LABEL}(\.{_LABEL})*",
        "not a name of a Node",
        "write a-z, 0-9, inner hyphens and dots, at most 63 characters, such as pi-01",
    ),
    "manifests_ingress_names": (_HOST, "not a name", "write it without https:// and path, such as jupyter.example.org"),
    "manifests_nfs_path": (r"/.*", "not an absolute path", "write /, which is the whole export"),
    "manifests_nfs_server": (
        _REACHED,
        "not an address by which boards reach the NFS server",
        "write such as 192.168.1.11",
    ),
    "nfs_server_address": (r"(?!127\.|0\.).*", "not an address by which boards reach it", "write such as 192.168.1.11"),
    "nfs_server_device": (
        r"""(/dev/disk/by-[a-z]+/[^/\s"'%]+)?""",
        "a name that may be of another disk after a restart",
        "write one of those in /dev/disk/by-id of the board",
    ),
    "nfs_server_mode": (
        r"0?7[0-7]{2}",
        "not a mode with which its owner may write",
        'write it in quotes, such as "0750"',
    ),
    "nfs_server_size": (r"auto|none|[1-9][0-9]*[MGT]", "not a size", "write auto, none, or a size such as 20G"),
    "nfs_server_user": (r"[a-z_][a-z0-9_-]{0,31}", "not a user name", "write such as data"),
    "node_labels_annotation": (
        rf"({_LABEL}(\.{_LABEL})*/)?[A-Za-z0-9]([A-Za-z0-9._-]{{0,61}}[A-Za-z0-9])?",
        "not a name of an annotation",
        "write such as edge-ai-cluster/managed",
    ),
    "notebooks_namespace": (r"edge-ai", "not the namespace in which playbooks make everything", "delete it"),
    "raspberry_pi_cgroup_controllers": (
        r"cpuset|cpu|io|memory|hugetlb|pids|rdma|misc",
        "not a cgroup controller",
        "write such as memory",
    ),
    "raspberry_pi_cmdline_tokens": (
        rf"{_TOKEN}\S+",
        "not an option, or one by which the board would not find its card or k3s its cgroups",
        "delete it",
    ),
    "raspberry_pi_journal_max_use": (r"[1-9][0-9]*[KMGT]?", "not a size of systemd", "write such as 200M"),
    "raspberry_pi_kernel_modules": (r"[A-Za-z0-9_-]+", "not a name of a module", "write such as br_netfilter"),
    "raspberry_pi_ntp_servers": (
        _HOST,
        "not an address or a name",
        "write each server as an item, such as 192.168.1.1",
    ),
    "raspberry_pi_packages": (r"[a-z0-9][a-z0-9+.-]*", "not a name of a Debian package", "write such as nfs-common"),
    "raspberry_pi_watchdog_timeout": (rf"off|{_TIME}( {_TIME})*", "not a time of systemd", "write such as 5min"),
}


#: Lists of what boards need: an inventory adds to them.
_ADDED_TO = ("raspberry_pi_packages", "raspberry_pi_kernel_modules", "raspberry_pi_cgroup_controllers")
#: Variables that are lists of names of boards.
_BOARDS = ("flash_keep", "flash_reflash", "k3s_reset_without", "reset_without")
#: Of variables that are the name of a board: the group that it is in. Empty leaves out what it is for.
_BOARD_IN = {
    "cluster_backup_nfs_server": "nfs_servers",
    "cluster_backup_server": "k3s_servers",
    "cluster_check_nfs_server": "nfs_servers",
    "manifests_render_host": "k3s_servers",
    "nfs_server_verify_from": "cluster",
    "notebooks_nfs_server": "nfs_servers",
    "notebooks_render_host": "k3s_servers",
}


def check(inventory: Inventory, report: Report) -> None:
    """Report texts that are not of their variable's form; other types than texts are reported elsewhere."""
    for name, (form, problem, remedy) in FORMATS.items():
        for host, setting in inventory.settings(name):
            if isinstance(setting.value, str) and not re.fullmatch(form, setting.value):
                report.setting(host, setting, problem, remedy)
            for index, each in enumerate(setting.value if isinstance(setting.value, list) else []):
                if isinstance(each, str) and not re.fullmatch(form, each):
                    report.setting(host, setting, problem, remedy, inner=str(index), value=each)
    _kernel_settings(inventory, report)
    _names_of_boards(inventory, report)
    for name in _ADDED_TO:
        for host, setting in inventory.settings(name):
            needed = inventory.defaults.get(name) or [] if isinstance(setting.value, list) else []
            if missing := ", ".join(each for each in needed if each not in setting.value):
                problem = f"replaces the default, of which boards need {missing}"
                report.setting(host, setting, problem, "write them too")
    for host, setting in inventory.settings("manifests_nfs_path"):
        if setting.value != "/" and not host.get("manifests_nfs_server"):
            problem = "the export is / for NFS version 4, and the data is there"
            report.setting(host, setting, problem, "delete it")
    for host, setting in inventory.settings("notebooks_profiles"):
        if setting.value == []:
            report.setting(host, setting, "no profile, so nothing would run", "write one, or delete the line")


def _kernel_settings(inventory: Inventory, report: Report) -> None:
    """Report kernel settings that k3s needs, and that the inventory leaves out or changes."""
    defaults: dict[str, object] = inventory.defaults.get("raspberry_pi_sysctl") or {}
    needed = {name: value for name, value in defaults.items() if not name.startswith("fs.")}
    for host, setting in inventory.settings("raspberry_pi_sysctl"):
        if not isinstance(setting.value, dict):
            continue
        if missing := ", ".join(name for name in needed if name not in setting.value):
            problem = f"replaces the default, of which k3s needs {missing}"
            report.setting(host, setting, problem, "write them too, as in roles/raspberry_pi/defaults/main.yml")
        for name, value in setting.value.items():
            if not re.fullmatch(r"[\w./-]+", name):
                report.setting(
                    host,
                    setting,
                    "not a name of a kernel setting",
                    "write such as vm.swappiness",
                    inner=name,
                    value=value,
                )
            elif isinstance(value, bool) or not isinstance(value, int | str) or not str(value).isprintable():
                report.setting(host, setting, "not a number or text", "write 1 or 0", inner=name, value=value)
            elif name in needed and str(value) != str(needed[name]):
                problem = f"k3s needs {needed[name]}"
                report.setting(host, setting, problem, f"write {needed[name]}", inner=name, value=value)


def _names_of_boards(inventory: Inventory, report: Report) -> None:
    """Report names of boards that there are not: nothing would be done for them, and nothing said."""
    for variable, group in _BOARD_IN.items():
        members = [host.name for host in inventory.members(group)]
        for host, setting in inventory.settings(variable):
            if members and setting.value not in ("", *members):
                remedy = f"write one of {', '.join(members)}, or delete the line"
                report.setting(host, setting, f"not a board of the group {group}", remedy)
    for variable in _BOARDS:
        for host, setting in inventory.settings(variable):
            for name in map(str, setting.value if isinstance(setting.value, list) else []):
                if name not in inventory.hosts:
                    remedy = did_you_mean(name, inventory.hosts, "write names of the inventory")
                    report.setting(host, setting, f"there is no board {name}", remedy)
