"""Variables that belong to no role but to the cluster, and directories that must not be exported."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from .model import Inventory, Report

_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
_REQUIRED = {
    "cluster_name": "set the cluster's name in group_vars/all.yml, such as home",
    "cluster_secrets_dir": 'set "{{ inventory_dir | dirname | dirname }}/secrets/{{ cluster_name }}" '
    "in group_vars/all.yml",
    "cluster_cache_dir": "set the directory for downloads in group_vars/all.yml",
    "cluster_results_dir": "set the directory for results in group_vars/all.yml",
}
_DIRECTORIES = ("cluster_secrets_dir", "cluster_cache_dir", "cluster_results_dir", "cluster_backups_dir")
#: Characters that a directory must not have, and why.
_REFUSED = {
    "cluster_secrets_dir": (
        re.compile(r"""[\s"'%\\$]"""),
        "ssh takes blanks, quotes, % and $ in the paths of its files for its own",
    ),
    "cluster_cache_dir": (
        re.compile(r"[:,=\n]"),
        "programs that build the image take it for their own",
    ),
}
# System directories: the export would change their owner, mode or content.
_SYSTEM = {"/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/opt", "/proc", "/root", "/run", "/sbin", "/srv"}
_SYSTEM |= {"/mnt", "/media", "/sys", "/tmp", "/usr", "/var", "/var/lib", "/var/log"}
# Those in which nothing may be, with k3s's own.
_CLOSED = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/proc", "/sbin", "/sys", "/usr", "/var/lib/kubelet", "/var/lib/rancher",
)  # fmt: skip


#: Variables of stages that run on localhost, by how they begin. The image's are those of its reference.
_ON_LOCALHOST = (
    "cluster_backup_", "container_image_base", "container_image_context", "container_image_hub_",
    "container_image_lite_", "container_image_name", "container_image_ref", "k3s_ingress", "k3s_kubeconfig",
    "manifests_", "node_labels_annotation", "node_labels_by_group", "node_labels_kubeconfig", "notebooks_",
    "preflight_cache_free_mb", "preflight_check_urls", "preflight_hint", "preflight_networks", "preflight_programs",
    "preflight_url_timeout",
)  # fmt: skip
#: Those of them that boards use, too, or alone.
_ON_BOARDS = (
    "container_image_base_mirror", "container_image_base_security_mirror", "k3s_kubeconfig_context",
    "notebooks_board_profiles", "notebooks_prediction_profiles",
)  # fmt: skip


def check(inventory: Inventory, report: Report) -> None:
    """Report missing or malformed variables of the cluster as a whole, and of its shared storage."""
    boards = inventory.boards()
    if not boards:
        return
    for name, remedy in _REQUIRED.items():
        # A broken template is reported elsewhere, with its line.
        if not any(name in host.settings for host in boards) and name not in inventory.unread:
            report.add(inventory.source, name, None, "missing", remedy)
    for host, setting in inventory.settings("cluster_name"):
        if isinstance(setting.value, str) and not _NAME.match(setting.value):
            report.setting(host, setting, "not a valid cluster name", "write a-z, 0-9 and inner hyphens, such as home")
    for name in _DIRECTORIES:
        for host, setting in inventory.settings(name):
            if any(PurePosixPath(str(setting.value)).is_relative_to(each) for each in inventory.directories):
                problem = "in the inventory's directory, all of which Ansible reads as an inventory"
                report.setting(host, setting, problem, "write one outside, or name the file of the hosts with -i")
    for name, (characters, why) in _REFUSED.items():
        for host, setting in inventory.settings(name):
            if found := characters.search(str(setting.value)):
                report.setting(
                    host,
                    setting,
                    f"has {found[0]!r}: {why}",
                    "move this checkout, or write a path without such characters",
                )
    for name in ("cluster_name", "cluster_root", *_DIRECTORIES):
        other = None
        for host, setting in inventory.settings(name):
            other = other or host
            if setting.value != other.get(name):
                problem = f"{other.name} has another one ({other.get(name)}), and a cluster has one"
                remedy = "write it once, in group_vars/all.yml; inventory_dir is where each host is written first"
                report.setting(host, setting, problem, remedy)
    _of_the_control_node(inventory, report)
    for name in ("cluster_cache_dir", "cluster_results_dir", "cluster_backups_dir"):
        for host, setting in inventory.settings(name):
            secrets = str(host.get("cluster_secrets_dir", ""))
            if secrets and PurePosixPath(str(setting.value)).is_relative_to(secrets):
                problem = "in cluster_secrets_dir, where nothing may be readable by other users"
                report.setting(host, setting, problem, "write a directory beside it")
    for host, setting in inventory.settings("nfs_server_export"):
        path = PurePosixPath(str(setting.value))
        closed = (*_CLOSED, str(host.get("k3s_data_dir", _CLOSED[-1])))
        if ".." in path.parts or re.search(r"""[\s"'\\#]|./$""", str(setting.value)):
            problem = "has a blank, a quote, \\, #, .., or a / at its end"
            report.setting(host, setting, problem, "write a plain path, such as /srv/books")
        elif path.is_relative_to("/tmp") or path.is_relative_to("/run"):
            report.setting(host, setting, "empty after each boot", "write a directory that stays, such as /srv/books")
        elif path.parent == PurePosixPath("/home"):
            problem = "the home of a user, who could not log in any more: its owner and mode would change"
            report.setting(host, setting, problem, f"write a directory in it, such as {path}/books")
        elif any(path.is_relative_to(each) for each in closed):
            problem = "in a directory of the system or of k3s"
            report.setting(host, setting, problem, "write a dedicated directory, such as /srv/books")
        elif str(path) in _SYSTEM:
            report.setting(
                host,
                setting,
                "a system directory: its owner and mode would change",
                "write a dedicated directory, such as /srv/books",
            )
    for name in ("nfs_server_uid", "nfs_server_gid"):
        for host, setting in inventory.settings(name):
            if isinstance(setting.value, int) and not 1 <= setting.value <= 65533:
                problem = "root: every pod could own the shared data" if setting.value == 0 else "not a valid user id"
                report.setting(host, setting, problem, "write a number from 1 to 65533, such as 10001")


def _of_the_control_node(inventory: Inventory, report: Report) -> None:
    """Report what boards have, and localhost does not, where it is used: a group's file is not read for localhost."""
    control = inventory.hosts.get("localhost")
    for name in inventory.options:
        if control and name.startswith(_ON_LOCALHOST) and name not in (*_ON_BOARDS, *inventory.unread):
            for host, setting in inventory.settings(name):
                if setting.value != control.get(name):
                    which = "another value" if name in control.settings else "no value"
                    problem = f"used for localhost, which has {which}"
                    report.setting(host, setting, problem, "write it in group_vars/all.yml")
