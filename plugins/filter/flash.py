"""Jinja filters of the flash role: addresses of boards in another network."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s.networks import networks_of_k3s


def flash_moved(address: str, prefix: int, network: str) -> str:
    """The address with the same place in another network as `address` has in its own, of that prefix length.

    Empty where there is none: another text than an address or a network, or a place that the network does not have.
    """
    try:
        old = ipaddress.IPv4Interface(f"{address}/{prefix}")
        new = ipaddress.IPv4Network(network)
    except ValueError:
        return ""
    place = int(old.ip) - int(old.network.network_address)
    if "/" not in network or not 0 < place < new.num_addresses - 1:
        return ""
    return str(new[place])


def flash_new_problem(network: str, gateway: str, addresses: list[str], server_config: dict[str, Any]) -> str:
    """Why boards cannot be moved to a network, with this router and these addresses in it; empty where they can.

    `server_config` is a server's k3s_server_config, which may name the networks of pods and services.
    """
    if not network:
        return (
            "Write the new network and its router, such as -e flash_new_network=192.168.2.0/24 "
            "-e flash_new_gateway=192.168.2.1."
        )
    if "" in addresses:
        return f"flash_new_network is {network}: write a network such as 192.168.2.0/24, with a place for every board."
    new = ipaddress.IPv4Network(network)
    for what, networks in networks_of_k3s(server_config).items():
        for used in networks:
            if used.overlaps(new):
                return (
                    f"flash_new_network is {network}: it overlaps k3s's network of {what} {used}. Write another one: a "
                    "cluster keeps those of k3s."
                )
    if not gateway:
        return ""
    try:
        place = int(ipaddress.IPv4Address(gateway)) - int(new.network_address)
    except ValueError:
        place = 0
    if not 0 < place < new.num_addresses - 1 or gateway in addresses:
        return f"flash_new_gateway is {gateway}: write the address of the router in {network}, which no board may have."
    return ""


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Filters by name."""
        return {"flash_moved": flash_moved, "flash_new_problem": flash_new_problem}
