#!/usr/bin/python
"""Ansible module: gather all that the role raspberry_pi needs of a board in one task (each task costs a second)."""

from __future__ import annotations

DOCUMENTATION = r"""
module: raspberry_pi_info
short_description: Gather hardware, base system and clock information of a board
description:
  - Everything that the role raspberry_pi needs, in one task; changes nothing. The action adds the clock offset.
options:
  files: {description: "Files whose SHA-256 is returned.", type: list, elements: str, default: []}
  packages: {description: "Packages of which the missing ones are returned.", type: list, elements: str, default: []}
  modules: {description: "Kernel modules of which the state is returned.", type: list, elements: str, default: []}
  units: {description: "Units of systemd whose state is returned.", type: list, elements: str, default: []}
  sysctl: {description: "Kernel settings; those that differ are returned.", type: dict, default: {}}
  exports_file: {description: "The role nfs_server's own file in exports.d.", type: path, required: true}
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.raspberry_pi_info:
    packages: [nfs-common]
    modules: [overlay]
    sysctl: {net.ipv4.ip_forward: 1}
    exports_file: /etc/exports.d/edge-ai-cluster.exports
"""
RETURN = r"""
board: {description: "Information about the board.", type: dict, returned: always}
"""

import os
import platform
import re
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils import files, sysctl
from ansible_collections.edge_ai.cluster.plugins.module_utils.command import completed
from ansible_collections.edge_ai.cluster.plugins.module_utils.nfs.version3 import version3_users
from ansible_collections.edge_ai.cluster.plugins.module_utils.raspberry_pi.hardware import (
    codename,
    hardware,
    text_of,
    throttling,
)


def missing_packages(names: list[str]) -> list[str]:
    """Which of the packages are not installed."""
    if not names:
        return []
    query = ("dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *names)
    # All of dpkg's database is read from the card.
    lines = completed(*query, timeout=300).output.splitlines()
    installed = {line.split()[0] for line in lines if line.endswith(" installed")}
    return [name for name in names if name not in installed]


def module_states(names: list[str]) -> dict[str, str]:
    """For each kernel module: loaded (or built in), available, or absent."""
    loaded = {line.split()[0] for line in text_of("/proc/modules").splitlines()}
    directory = f"/lib/modules/{platform.release()}"
    built_in = set(re.findall(r"/([^/]+)\.ko", text_of(f"{directory}/modules.builtin")))
    known = set(re.findall(r"/([^/]+)\.ko[^:/]*:", text_of(f"{directory}/modules.dep")))

    def state(name: str) -> str:
        spellings = {name, name.replace("_", "-"), name.replace("-", "_")}
        if spellings & (loaded | built_in) or any(Path("/sys/module", word).exists() for word in spellings):
            return "loaded"
        return "available" if spellings & known else "absent"

    return {name: state(name) for name in names}


def unit_states(names: list[str]) -> dict[str, dict[str, bool]]:
    """For each systemd unit whether it is masked, and whether it is running; neither for one that is not installed."""
    states = {}
    for name in names:
        shown = completed("systemctl", "show", name, "--property=LoadState,ActiveState").output.splitlines()
        running = bool({"ActiveState=active", "ActiveState=activating", "ActiveState=reloading"} & set(shown))
        states[name] = {"masked": "LoadState=masked" in shown, "running": running}
    return states


def watchdog_adjustable(watchdog: Path = Path("/sys/class/watchdog/watchdog0")) -> bool:
    """Whether the watchdog's timeout can be set. If not, systemd would assume one that the hardware does not use."""
    options = text_of(watchdog / "options")
    return watchdog.exists() and (not options or bool(int(options, 16) & 0x80))  # WDIOF_SETTIMEOUT


def own_names(hosts: str) -> list[str]:
    """The names that /etc/hosts has for the board itself, at 127.0.1.1 as on every Debian."""
    lines = [line.partition("#")[0].split() for line in hosts.splitlines()]
    return [name for line in lines if line[:1] == ["127.0.1.1"] for name in line[1:]]


def base_system() -> dict[str, Any]:
    """Release, boot files, cgroups, swap."""
    cmdline = next((path for path in ("/boot/firmware/cmdline.txt", "/boot/cmdline.txt") if Path(path).is_file()), "")
    swaps = [line.split()[0] for line in text_of("/proc/swaps").splitlines()[1:]]
    return {
        "codename": codename(),
        "hostname": platform.node(),
        "own_names": own_names(text_of("/etc/hosts")),
        "cloud_init": Path("/etc/cloud/cloud.cfg.d").is_dir(),
        "machine_id": text_of("/etc/machine-id"),
        "boot_id": text_of("/proc/sys/kernel/random/boot_id"),
        "cmdline_file": cmdline,
        "cmdline": text_of(cmdline) if cmdline else "",
        "running_cmdline": text_of("/proc/cmdline"),
        "cgroup_v2": Path("/sys/fs/cgroup/cgroup.controllers").exists(),
        "cgroup_controllers": text_of("/sys/fs/cgroup/cgroup.controllers").split(),
        "swaps": swaps,
        "dphys_swapfile": completed("systemctl", "is-enabled", "dphys-swapfile").output == "enabled\n",
        "clock_synchronized": completed("timedatectl", "show", "-p", "NTPSynchronized", "--value").output == "yes\n",
        # A fresh image has no package lists, however young their directory is.
        "package_lists": any(Path("/var/lib/apt/lists").glob("*Release")),
        "watchdog_adjustable": watchdog_adjustable(),
    }


def main() -> None:
    """Entry point."""
    begun = time.time()
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "str", "default": []},
            "packages": {"type": "list", "elements": "str", "default": []},
            "modules": {"type": "list", "elements": "str", "default": []},
            "units": {"type": "list", "elements": "str", "default": []},
            "sysctl": {"type": "dict", "default": {}},
            "exports_file": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    digests = {}
    for path in module.params["files"]:
        if os.access(path, os.R_OK) and Path(path).is_file():
            digests[path] = files.sha256_of(path)
    differing = sysctl.differing(module.params["sysctl"])
    try:
        board = {
            **hardware(),
            "architecture": platform.machine(),
            "throttling": throttling(completed("vcgencmd", "get_throttled").output),
            **base_system(),
            "files": digests,
            "missing_packages": missing_packages(module.params["packages"]),
            "kernel_modules": module_states(module.params["modules"]),
            "units": unit_states(module.params["units"]),
            "version3_users": version3_users(Path(module.params["exports_file"])),
            # Those that this kernel does not have are skipped.
            "differing_sysctl": {name: value for name, value in differing.items() if value is not None},
        }
    except TimeoutError as error:
        module.fail_json(msg=str(error))
    for name, state in board["kernel_modules"].items():
        if state == "absent":
            module.warn(f"{board['hostname']}: its kernel {platform.release()} has no module {name}")
    for problem in board["throttling"]:
        module.warn(f"{board['hostname']}: {problem} (vcgencmd get_throttled): check its power supply and cooling")
    # First and last reading of this board's clock; the action plugin compares them with the control node's.
    module.exit_json(changed=False, board=board, clock=[begun, time.time()])


if __name__ == "__main__":
    main()
