"""Texts of a certain form: what a stage in the middle of a run would refuse, or write into a file that is not read."""

from __future__ import annotations

import re

from .model import Inventory, Report

_HOST = r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?"
_TIME = r"[0-9]+ ?(us|ms|s|sec|m|min|h|hour|hours)?"
#: Of each variable: the form of the whole text, or of each item of a list; what is wrong otherwise; what to write.
FORMATS: dict[str, tuple[str, str, str]] = {
    "cluster_backup_copy_to": (
        r"([/~].*|([A-Za-z0-9_][A-Za-z0-9._-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*:[A-Za-z0-9._/-]+)?",
        "neither the full path of a directory nor a place for sftp",
        "write such as /media/disk, or nas@192.168.1.5:backups (letters, digits, and . _ / -)",
    ),
    "container_image_base": (
        r"(localhost/.+|.+@sha256:[0-9a-f]{64})?",
        "not pinned by the digest of its index",
        "write it as NAME:TAG@sha256:... (docker/README.md)",
    ),
    "container_image_name": (
        r"[a-z0-9]+([._/-]+[a-z0-9]+)*(:[0-9]+/[a-z0-9]+([._/-]+[a-z0-9]+)*)?",
        "not a name of an image without its tag",
        "write such as localhost/edge-ai/tensorflow-jupyter",
    ),
    "k3s_api_address": (_HOST, "not an address or a name", "write it without https:// and without a port"),
    "k3s_data_dir": (r"/[^/\s].*", "not an absolute path", "write such as /var/lib/rancher/k3s"),
    "k3s_node_name": (_HOST, "not a name of a Node", "write a-z, 0-9, inner hyphens and dots, such as pi-01"),
    "manifests_ingress_names": (_HOST, "not a name", "write it without https:// and path, such as jupyter.example.org"),
    "nfs_server_device": (
        r"(/dev/disk/by-.+)?",
        "a name that may be of another disk after a restart",
        "write one of those in /dev/disk/by-id of the board",
    ),
    "nfs_server_mode": (r"0?[0-7]{3}", "not a mode", 'write it in quotes, such as "0750"'),
    "nfs_server_size": (r"auto|none|[1-9][0-9]*[MGT]", "not a size", "write auto, none, or a size such as 20G"),
    "nfs_server_user": (r"[a-z_][a-z0-9_-]{0,31}", "not a user name", "write such as data"),
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


def check(inventory: Inventory, report: Report) -> None:
    """Report texts that are not of their variable's form; other types than texts are reported elsewhere."""
    for name, (form, problem, remedy) in FORMATS.items():
        for host, setting in inventory.settings(name):
            if isinstance(setting.value, str) and not re.fullmatch(form, setting.value):
                report.setting(host, setting, problem, remedy)
            for index, each in enumerate(setting.value if isinstance(setting.value, list) else []):
                if isinstance(each, str) and not re.fullmatch(form, each):
                    report.setting(host, setting, problem, remedy, inner=str(index), value=each)
    for host, setting in inventory.settings("notebooks_profiles"):
        if setting.value == []:
            report.setting(host, setting, "no profile, so nothing would run", "write one, or delete the line")
