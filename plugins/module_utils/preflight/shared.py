"""Variables that belong to no role but to the cluster, and directories that must not be exported."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

from .model import Host, Inventory, Report, Setting, show_setting

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_REQUIRED = {
    "cluster_name": "set the cluster's name in group_vars/all.yml, such as home",
    "cluster_secrets_dir": 'set "{{ inventory_dir | dirname | dirname }}/secrets/{{ cluster_name }}" '
    "in group_vars/all.yml",
    "cluster_cache_dir": "set the directory for downloads in group_vars/all.yml",
    "cluster_results_dir": "set the directory for results in group_vars/all.yml",
}
_DIRECTORIES = ("cluster_secrets_dir", "cluster_cache_dir", "cluster_results_dir", "cluster_backups_dir")
#: Characters that a directory must not have, and why.
REFUSED = {
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
#: Those that each host uses with its own value of them: two would be two clusters.
_OF_ALL = ("cluster_name", "cluster_root", *_DIRECTORIES)
_OF_BOARDS = ("k3s_version", "k3s_token_file", "k3s_agent_token_file", "k3s_node_token_file")
#: What one board of a run decides for all of it, the first one.
_OF_A_RUN = (
    "cluster_check_ingress", "cluster_check_kubeconfig", "cluster_check_namespace", "cluster_check_nfs_server",
    "k3s_drain_emptydir_namespaces", "k3s_remove_sole_labels", "k3s_reset_without", "k3s_rotate",
    "k3s_upgrade_notready", "reset_without", "rotate",
)  # fmt: skip
#: What servers write into the datastore, or what each of them decides for the whole cluster.
_OF_SERVERS = ("k3s_disable", "k3s_flannel_backend", "k3s_hardening", "k3s_pod_security", "k3s_secrets_encryption")
#: Keys of k3s_server_config of which agents, too, make addresses, and those that k3s compares when a server joins.
_KEYS_OF_BOARDS = ("https-listen-port", "cluster-cidr")
_KEYS_OF_SERVERS = (
    "cluster-dns", "cluster-domain", "disable", "disable-cloud-controller", "disable-helm-controller",
    "disable-kube-proxy", "disable-network-policy", "egress-selector-mode", "embedded-registry", "flannel-backend",
    "flannel-external-ip", "flannel-ipv6-masq", "secrets-encryption", "service-cidr",
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
        if isinstance(setting.value, str) and not _NAME.fullmatch(setting.value):
            report.setting(host, setting, "not a valid cluster name", "write a-z, 0-9 and inner hyphens, such as home")
    for name in _DIRECTORIES:
        for host, setting in inventory.settings(name):
            if any(PurePosixPath(str(setting.value)).is_relative_to(each) for each in inventory.directories):
                problem = "in the inventory's directory, all of which Ansible reads as an inventory"
                report.setting(host, setting, problem, "write one outside, or name the file of the hosts with -i")
    for name, (characters, why) in REFUSED.items():
        for host, setting in inventory.settings(name):
            if found := characters.search(str(setting.value)):
                report.setting(
                    host,
                    setting,
                    f"has {found[0]!r}: {why}",
                    "move this checkout, or write a path without such characters",
                )
    _of_the_cluster(inventory, report)
    _of_localhost_alone(inventory, report)
    for name in ("cluster_cache_dir", "cluster_results_dir", "cluster_backups_dir"):
        for host, setting in inventory.settings(name):
            secrets = str(host.get("cluster_secrets_dir", ""))
            if secrets and PurePosixPath(str(setting.value)).is_relative_to(secrets):
                problem = "in cluster_secrets_dir, where nothing may be readable by other users"
                report.setting(host, setting, problem, "write a directory beside it")
    for host, setting in inventory.settings("k3s_data_dir"):
        path = PurePosixPath(str(setting.value))
        if not _is_steady(host, setting, "/var/lib/rancher/k3s", report):
            continue
        closed = tuple(each for each in _CLOSED if each not in ("/var/lib/rancher", "/dev"))
        export = str(host.get("nfs_server_export", inventory.defaults.get("nfs_server_export", "/srv/books")))
        if str(path) in _SYSTEM or any(path.is_relative_to(each) for each in closed) or path.parent.name == "home":
            report.setting(
                host, setting, "a directory of the system or of a user", "write such as /var/lib/rancher/k3s"
            )
        elif path.is_relative_to(export):
            problem = f"in nfs_server_export ({export}), which every pod may write to"
            report.setting(host, setting, problem, "write a directory outside, such as /var/lib/rancher/k3s")
    for host, setting in inventory.settings("nfs_server_export"):
        path = PurePosixPath(str(setting.value))
        closed = (*_CLOSED, str(host.get("k3s_data_dir", _CLOSED[-1])))
        if not _is_steady(host, setting, "/srv/books", report):
            continue
        if path.parent == PurePosixPath("/home"):
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
            elif isinstance(setting.value, int) and setting.value <= 1000:
                problem = "an id of the system's own users, or of the one who logs in"
                report.setting(host, setting, problem, "write a number from 1001 to 65533, such as 10001")
    for host, setting in inventory.settings("nfs_server_user"):
        if setting.value in ("root", host.get("ansible_user"), host.get("flash_user")):
            problem = "a user that the board has for something else"
            report.setting(host, setting, problem, "write another name, such as data")


def _is_steady(host: Host, setting: Setting, example: str, report: Report) -> bool:
    """Whether a directory of a board can be written into units and commands, and stays there; reported if not."""
    directory = str(setting.value)
    path = PurePosixPath(directory)
    if ".." in path.parts or not re.fullmatch(r"/?[^/]+(/[^/]+)*", directory):
        problem = "has .., //, or a / at its end"
    elif re.search(r"""[\s"'`\\#%$*?()\[\]{},:;&|<>]""", directory) or not directory.isascii():
        problem = "has a blank, a letter that is not ASCII, or a character that programs read as something else"
    elif len(path.name) > 200 or path.name.startswith("-"):
        problem = "not a name for a directory"
    elif any(path.is_relative_to(each) for each in ("/tmp", "/run", "/var/run", "/dev")):
        problem = "empty after each boot"
    else:
        return True
    report.setting(host, setting, problem, f"write such as {example}")
    return False


def _of_the_cluster(inventory: Inventory, report: Report) -> None:
    """Report what a cluster has one value of, and hosts that use it have several: one board's, or one group's."""
    boards = inventory.boards()
    control = [host for host in inventory.hosts.values() if host.name == "localhost"]
    servers = inventory.members("k3s_servers")
    shared = [name for name in inventory.options if _is_of_localhost(name)]
    for names, hosts in ((shared, control + boards), (_OF_BOARDS + _OF_A_RUN, boards), (_OF_SERVERS, servers)):
        for name in names:
            # A template without a value for some host is reported elsewhere, or depends on what a run makes.
            if name not in inventory.unread:
                _one_value(name, None, hosts, inventory, report)
    for keys, hosts in ((_KEYS_OF_BOARDS, boards), (_KEYS_OF_SERVERS, servers)):
        for key in keys:
            if "k3s_server_config" not in inventory.unread:
                _one_value("k3s_server_config", key, hosts, inventory, report)


def _one_value(name: str, key: str | None, hosts: list[Host], inventory: Inventory, report: Report) -> None:
    """Report a variable, or a key of a dictionary, that hosts have several values of.

    What most hosts have is right; the others' is reported where it is written, or, where they have only the default,
    what most have.
    """
    values = [_value(host, name, key, inventory) for host in hosts]
    if not values or all(value == values[0] for value in values):
        return
    usual = max(values, key=values.count)
    unusual = [host for host, value in zip(hosts, values, strict=True) if value != usual]
    others = [host for host, value in zip(hosts, values, strict=True) if value == usual]
    reported, other = [host for host in unusual if _written(host, name, key)], others[0]
    if not reported:
        reported, other = others, unusual[0]
    remedy = "write it once, in group_vars/all.yml"
    if name in _OF_ALL:
        remedy += "; inventory_dir is where each host is written first"
    for host in reported:
        setting = host.settings[name]
        value = _value(host, name, key, inventory)
        problem = f"{other.name} has {_otherwise(other, name, key, inventory)}, and a cluster has one"
        report.setting(host, setting, problem, remedy, inner=key, value=value)


def _written(host: Host, name: str, key: str | None) -> Setting | None:
    """Where a host's value of a variable, or of a key in it, comes from; None for a default."""
    setting = host.settings.get(name)
    if setting is None or setting.value is None:
        return None
    return setting if key is None or (isinstance(setting.value, dict) and key in setting.value) else None


def _value(host: Host, name: str, key: str | None, inventory: Inventory) -> Any:
    setting = _written(host, name, key)
    if key is not None:
        return setting.value[key] if setting else None
    return setting.value if setting else inventory.defaults.get(name)


def _otherwise(host: Host, name: str, key: str | None, inventory: Inventory) -> str:
    """What another host has, and where it is written, as a part of a sentence."""
    setting = _written(host, name, key)
    value = _value(host, name, key, inventory)
    if setting:
        shown = "(not shown)" if setting.hidden else show_setting(name, value)
        return f"another one, {shown} in {setting.place_of(key or '')}"
    if value is None:
        return "none"
    return "its default" if "{{" in str(value) else f"the default, {show_setting(name, value)}"


def _of_localhost_alone(inventory: Inventory, report: Report) -> None:
    """Report what only localhost has, where it is used for boards alone."""
    for host, setting in [each for name in inventory.options for each in inventory.settings(name)]:
        name = setting.name
        lacking = [board.name for board in inventory.boards() if board.get(name) is None]
        if host.name == "localhost" and lacking and not _is_of_localhost(name) and name not in inventory.unread:
            problem = f"used for boards, and {lacking[0]} has none"
            report.setting(host, setting, problem, "write it in group_vars/all.yml")


def _is_of_localhost(name: str) -> bool:
    return name in _OF_ALL or (name.startswith(_ON_LOCALHOST) and name not in _ON_BOARDS)
