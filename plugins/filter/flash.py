"""Jinja filters of the flash role: addresses of boards in another network."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any


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


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Filters by name."""
        return {"flash_moved": flash_moved}
