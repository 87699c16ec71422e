"""The overlay hub: who may log in, and by which way."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from .model import Inventory, Report

# Also a label's value, a directory's name and a part of addresses.
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 32
_MEMORY = ("manifests_hub_memory_request_mb", "manifests_hub_memory_limit_mb")


def check(inventory: Inventory, report: Report) -> None:
    """Report users that the hub cannot have, and an overlay hub that no user could use."""
    for host, setting in inventory.settings("manifests_overlay"):
        if PurePosixPath(str(setting.value)).name != "hub":
            continue
        if not host.get("manifests_hub_users"):
            report.setting(host, setting, "no user may log in", "write manifests_hub_users: [alice, bob]")
        if inventory.value(host, "k3s_ingress") != "traefik":
            report.setting(host, setting, "people reach it by k3s's Traefik alone", "write k3s_ingress: traefik")
    for host in inventory.hosts.values():
        request, limit = (inventory.value(host, name) for name in _MEMORY)
        written = host.settings.get(_MEMORY[1]) or host.settings.get(_MEMORY[0])
        if written and isinstance(request, int) and isinstance(limit, int) and limit < request:
            problem = f"a pod with a limit of {limit} MB requests {request} MB ({_MEMORY[0]}), which Kubernetes refuses"
            report.setting(host, written, problem, f"have {_MEMORY[1]} at least as large")
    for host, setting in inventory.settings("manifests_hub_users"):
        names = setting.value if isinstance(setting.value, list) else []
        for name in dict.fromkeys(name for name in names if isinstance(name, str)):
            if not _NAME.fullmatch(name) or len(name) > _LONGEST:
                remedy = "write one like alice or mary-ann2, of 32 characters at most"
                report.setting(host, setting, f"{name!r} is not a name of a user", remedy)
            elif names.count(name) > 1:
                report.setting(host, setting, f"{name} is there twice", "remove one")
    for host, setting in inventory.settings("manifests_hub_admins"):
        users = host.get("manifests_hub_users", [])
        for name in setting.value if isinstance(setting.value, list) else []:
            if name not in users:
                report.setting(
                    host, setting, f"{name} is not a user of the hub", "write the name in manifests_hub_users too"
                )
