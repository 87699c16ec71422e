"""Pods that cannot work until they are made anew: their network is another one, or the share that they mounted is gone.

Runs on boards.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

from ansible_collections.edge_ai.cluster.plugins.module_utils.command import ip, run

#: Of flannel, which has the network that the Node has for its pods; other networks of pods have none of this name.
BRIDGE = "cni0"


def foreign_bridge(addresses: list[str], networks: list[str]) -> list[str]:
    """Addresses of the pods' bridge that lie in none of the networks which the Node has for its pods."""
    wanted = [ipaddress.ip_network(each) for each in networks]
    return [each for each in addresses if wanted and not any(ipaddress.ip_address(each) in net for net in wanted)]


def pods_nfs(mountinfo: str) -> list[str]:
    """Mount points of NFS in pods, in the text of /proc/self/mountinfo."""
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("nfs") and before.split()[4].startswith("/var/lib/kubelet/pods/"):
            found.append(before.split()[4])
    return found


def broken(networks: list[str]) -> list[str]:
    """Why pods here cannot work; empty where that is not certain. `networks` are those that the Node has for them."""
    # What "scope global" leaves out is listed without its address.
    links = ip("address", "show", "dev", BRIDGE, "scope", "global")
    addresses = [each["local"] for link in links for each in link.get("addr_info", []) if "local" in each]
    reasons = [
        f"{BRIDGE} has the address {each}, the Node's pods are in {', '.join(networks)}"
        for each in foreign_bridge(addresses, networks)
    ]
    for point in pods_nfs(Path("/proc/self/mountinfo").read_text()):
        # Asks the server, not the cache. One that does not answer may still have the same file system.
        asked = run("env", "LC_ALL=C", "stat", "--cached=never", point, timeout=5)
        if asked.status == 124:
            break
        if "Stale file handle" in asked.errors:
            reasons.append(f"{point} is stale")
    return reasons
