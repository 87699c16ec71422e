"""Secrets: none in the inventory's files, and none on disk that others may read."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from . import tokens
from .model import Host, Inventory, Place, Report, Setting, is_secret

_PUBLIC = (".pub", "known_hosts", ".crt", ".pem.pub")


def check(inventory: Inventory, report: Report) -> None:
    """Report secrets in plain text in the inventory."""
    for host in inventory.hosts.values():
        for setting in host.settings.values():
            if setting.plain and not setting.from_command_line:
                _walk(host, setting, setting.name, setting.value, None, report)


def _walk(host: Host, setting: Setting, name: str, value: Any, inner: str | None, report: Report) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _walk(host, setting, str(key), item, inner or str(key), report)
    elif isinstance(value, list):
        for item in value:
            _walk(host, setting, name, item, inner, report)
    elif is_secret(name, value):
        report.setting(
            host,
            setting,
            "a secret in plain text, visible to everyone who can read the inventory",
            _remedy(name),
            inner=inner,
            value="(not shown)",
        )


def _remedy(name: str) -> str:
    if "token" in name:
        return "delete it: the first run generates one and stores it in k3s_token_file"
    return "delete it, or encrypt it with ansible-vault encrypt_string"


def check_files(inventory: Inventory, base: Path, report: Report) -> None:
    """Report secrets on disk that others may read: a directory must be 0700, a file in it 0600 (or 0400).

    And those that are empty, as a password that is none. Names are shown relative to `base`. A directory
    that does not exist yet is created by the roles.
    """
    folders = {str(setting.value) for _host, setting in inventory.settings("cluster_secrets_dir")}
    for folder in sorted(folders):
        root = Path(folder)
        if not root.is_absolute() or not root.is_dir():
            continue
        for path in (root, *sorted(root.rglob("*"))):
            mode = stat.S_IMODE(path.lstat().st_mode)
            if path.is_symlink() or not mode & 0o077:
                continue
            if path.is_file() and path.name.endswith(_PUBLIC):
                continue
            name = _shown(path, base)
            wanted = "0700" if path.is_dir() else "0600"
            remedy = f"run `chmod {wanted} {name}`"
            report.add(Place(name), "mode", f"{mode:04o}", "accessible to other users", remedy)
    _check_empty(inventory, [Path(each) for each in folders], base, report)


def _check_empty(inventory: Inventory, folders: list[Path], base: Path, report: Report) -> None:
    # Hidden ones are locks, and what a run that was killed left.
    found = [path for root in folders for path in sorted(root.rglob("[!.]*")) if root.is_absolute()]
    found += [Path(str(setting.value)) for _host, setting in inventory.settings("manifests_jupyter_password_file")]
    of_k3s = tokens.paths(inventory)
    for path in dict.fromkeys(found):
        if path not in of_k3s and not path.name.endswith(_PUBLIC) and path.is_file() and _is_blank(path):
            report.add(
                Place(_shown(path, base)),
                "content",
                None,
                "empty, as a power cut leaves a file that was just made",
                "delete it: then playbooks/restore-control.yml puts that of a backup there, or the run makes a new one",
            )


def _is_blank(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return not file.read(4096).strip()
    except OSError:
        return False


def _shown(path: Path, base: Path) -> str:
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)
