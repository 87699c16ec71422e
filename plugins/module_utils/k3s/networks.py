"""The networks and the port of a cluster, by its k3s_server_config; what preflight reports in that has no effect."""

from __future__ import annotations

import ipaddress
from typing import Any

from .keys import texts

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: What k3s has networks for, by their keys in k3s_server_config, and those that it has by default (docs cli/server.md).
NETWORKS = {"cluster-cidr": ("pods", "10.42.0.0/16"), "service-cidr": ("services", "10.43.0.0/16")}
_PORT = 6443


def network(value: Any) -> Network | None:
    """A network in CIDR form, or None if the value is not one."""
    try:
        return ipaddress.ip_network(value, strict=False) if isinstance(value, str) else None
    except ValueError:
        return None


def networks_of_k3s(server_config: Any) -> dict[str, list[Network]]:
    """The networks of pods and of services; what is no network is left out."""
    chosen = server_config if isinstance(server_config, dict) else {}
    return {
        what: [found for each in texts(chosen, key) or [default] if (found := network(each))]
        for key, (what, default) in NETWORKS.items()
    }


def api_port(server_config: Any) -> int:
    """The port of the servers' API."""
    port = server_config.get("https-listen-port") if isinstance(server_config, dict) else None
    return port if isinstance(port, int) and 0 < port < 65536 else _PORT
