"""Variables that belong to no role but to the cluster, and what the NFS export must not be."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from .model import Inventory, Report

_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
_REQUIRED = {
    "cluster_name": "write the cluster's name into group_vars/all.yml, such as home",
    "cluster_secrets_dir": 'write "{{ inventory_dir | dirname | dirname }}/secrets/{{ cluster_name }}" '
    "into group_vars/all.yml",
    "cluster_cache_dir": "write the directory that downloads are kept in into group_vars/all.yml",
    "cluster_results_dir": "write the directory that results come back to into group_vars/all.yml",
}
# A directory whose owner, mode or content the export would change under the system's feet.
_SYSTEM = {"/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/opt", "/proc", "/root", "/run", "/sbin", "/srv"}
_SYSTEM |= {"/sys", "/tmp", "/usr", "/var", "/var/lib"}


def judge(inventory: Inventory, report: Report) -> None:
    """Report missing or misshapen variables of the cluster as a whole, and of the storage it shares."""
    boards = inventory.boards()
    if not boards:
        return
    for name, remedy in _REQUIRED.items():
        # A broken template is reported where it stands.
        if not any(name in host.settings for host in boards) and name not in inventory.unread:
            report.add(inventory.source, name, None, "missing", remedy)
    for host, setting in inventory.settings("cluster_name"):
        if isinstance(setting.value, str) and not _NAME.match(setting.value):
            report.setting(host, setting, "not a name for a cluster", "write a-z, 0-9 and inner hyphens, such as home")
    for name in (
        "cluster_secrets_dir",
        "cluster_cache_dir",
        "cluster_results_dir",
        "cluster_backups_dir",
        "cluster_root",
    ):
        for host, setting in inventory.settings(name):
            if isinstance(setting.value, str) and not PurePosixPath(setting.value).is_absolute():
                report.setting(
                    host, setting, "not an absolute path", "write the full path, or begin with {{ cluster_root }}/"
                )
    for host, setting in inventory.settings("nfs_server_export"):
        path = PurePosixPath(str(setting.value))
        if not path.is_absolute() or ".." in path.parts:
            report.setting(host, setting, "not an absolute path", "write the full path, such as /srv/books")
        elif str(path) in _SYSTEM:
            report.setting(
                host,
                setting,
                "a directory of the system: its owner and mode would change",
                "write a directory of its own, such as /srv/books",
            )
    for name in ("nfs_server_uid", "nfs_server_gid"):
        for host, setting in inventory.settings(name):
            if isinstance(setting.value, int) and not 1 <= setting.value <= 65533:
                problem = "root: every pod could own the books" if setting.value == 0 else "not a usable id"
                report.setting(host, setting, problem, "write a number from 1 to 65533, such as 10001")
