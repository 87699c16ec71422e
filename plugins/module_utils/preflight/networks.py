"""Networks: those of boards, pods and services share no address; clients of the NFS export are in one of them."""

from __future__ import annotations

import ipaddress
import itertools
from typing import Any

from ..k3s.keys import texts
from ..k3s.networks import NETWORKS, Network, network, networks_of_k3s
from .model import Host, Inventory, Report, Setting

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Addresses, or lists of them, that boards send packets to.
_USED = ("flash_nameservers", "raspberry_pi_ntp_servers", "k3s_api_address")


def check(inventory: Inventory, report: Report) -> None:
    """Report networks that overlap or do not suffice, and clients of the NFS export that are none of the boards."""
    _neighbours(inventory, report)
    _nfs_clients(inventory, report)
    _overlaps(inventory, report)


def address(value: Any) -> Address | None:
    """An address, or None if the value is not one."""
    try:
        return ipaddress.ip_address(value) if isinstance(value, str) else None
    except ValueError:
        return None


def network_of(host: Host, inventory: Inventory) -> Network | None:
    """The network of a host's gateway; None if that is not set or not well formed."""
    gateway = address(host.get("flash_gateway"))
    prefix = inventory.value(host, "flash_prefix")
    try:
        return ipaddress.ip_network((str(gateway), int(prefix)), strict=False) if gateway else None
    except (TypeError, ValueError):
        return None


def _neighbours(inventory: Inventory, report: Report) -> None:
    """flannel's host-gw sends pods' packets to the other board's address itself, which no router in between knows."""
    networks = set()
    for host in inventory.boards():
        config = host.get("k3s_server_config")
        chosen = config.get("flannel-backend") if isinstance(config, dict) else None
        backend = chosen or inventory.value(host, "k3s_flannel_backend")
        own = address(host.get("ansible_host"))
        if backend == "host-gw" and own and own.version == 4 and host.groups & {"cluster", "spare"}:
            prefix = inventory.value(host, "flash_prefix")
            within = network_of(host, inventory)
            # One outside its gateway's network is an error of its own.
            if isinstance(prefix, int) and 8 <= prefix <= 30 and (within is None or own in within):
                networks.add(ipaddress.ip_network((str(own), prefix), strict=False))
    if len(networks) > 1:
        names = ", ".join(map(str, sorted(networks)))
        report.add(
            inventory.source,
            "k3s_flannel_backend",
            "host-gw",
            f"the boards are in different networks ({names}), and pods would have no route between them",
            "write k3s_flannel_backend: vxlan before the first run; if it is one network, write its flash_prefix",
        )


def _nfs_clients(inventory: Inventory, report: Report) -> None:
    for server in inventory.members("nfs_servers"):
        setting = server.settings.get("nfs_server_clients")
        if setting is None or not isinstance(setting.value, list):
            continue
        allowed = []
        boards = network_of(server, inventory)
        for index, each in enumerate(setting.value):
            found = network(each)
            if found is None or _is_wide(found, boards):
                problem = "not an address or a network"
                if each == "*" or (found and found.prefixlen == 0):
                    problem = "any machine could mount the NFS export"
                elif found:
                    problem = f"larger than the boards' network {boards}: other machines could mount the NFS export"
                report.setting(
                    server,
                    setting,
                    problem,
                    "write the boards' addresses, such as 192.168.1.11",
                    inner=str(index),
                    value=each,
                )
            else:
                allowed.append(found)
        if len(allowed) < len(setting.value):
            continue
        for host in inventory.members("cluster"):
            own = address(host.get("ansible_host"))
            if own and not any(own.version == each.version and own in each for each in allowed):
                report.setting(
                    server,
                    setting,
                    f"{host.name} ({own}) is not among them, so its pods cannot mount the NFS export",
                    f"add {own}, or delete the line: by default all boards of the cluster are clients",
                )


def _is_wide(clients: Network, boards: Network | None) -> bool:
    """Whether a network (not a single address) holds more than the boards' own, as far as that is known."""
    if clients.prefixlen == 0:
        return True
    if boards is None or clients.num_addresses == 1 or clients.version != boards.version:
        return False
    return not (clients.network_address in boards and clients.broadcast_address in boards)


def _overlaps(inventory: Inventory, report: Report) -> None:
    """Pods, services and boards need three networks that share no address."""
    for host in inventory.members("k3s_servers")[:1]:
        config = host.settings.get("k3s_server_config")
        chosen = config.value if config and isinstance(config.value, dict) else {}
        networks = networks_of_k3s(chosen)
        if config:
            _sizes(inventory, host, config, chosen, report)
            for key, (_what, default) in NETWORKS.items():
                if any(network(each) is None for each in texts(chosen, key)):
                    remedy = f"write it as {default}"
                    report.setting(host, config, "not a network", remedy, inner=key, value=chosen[key])
            for pods, services in itertools.product(networks["pods"], networks["services"]):
                if pods.overlaps(services):
                    key = "service-cidr" if "service-cidr" in chosen else "cluster-cidr"
                    problem = f"the networks of pods ({pods}) and services ({services}) overlap"
                    remedy = "write two networks that share no address, such as 10.42.0.0/16 and 10.43.0.0/16"
                    report.setting(host, config, problem, remedy, inner=key, value=chosen.get(key))
        for key, (what, _default) in NETWORKS.items():
            for used in networks[what]:
                _overlap_with_boards(inventory, host, config, key, what, used, key in chosen, report)


def _sizes(inventory: Inventory, host: Host, config: Setting, chosen: dict[str, Any], report: Report) -> None:
    """Networks of pods and services that k3s does not start with, or that do not suffice for all boards."""
    networks = networks_of_k3s(chosen)
    pods, services = networks["pods"], networks["services"]
    for key, found in (("cluster-cidr", pods), ("service-cidr", services)):
        if key not in chosen:
            continue
        own = {"inner": key, "value": chosen[key]}
        if found and not any(each.version == 4 for each in found):
            remedy = "write one, such as 10.52.0.0/16, before that of IPv6"
            report.setting(host, config, "has no IPv4 network", remedy, **own)
        elif {each.version for each in pods} != {each.version for each in services}:
            problem = "cluster-cidr and service-cidr have networks of different families, and k3s does not start"
            report.setting(host, config, problem, "write networks of the same families in both", **own)
    boards = len(inventory.members("cluster") + inventory.members("spare"))
    is_default = "node-cidr-mask-size" not in str(chosen.get("kube-controller-manager-arg"))
    if "cluster-cidr" in chosen and is_default:
        own = {"inner": "cluster-cidr", "value": chosen["cluster-cidr"]}
        if any(each.version == 4 and 2 ** (24 - each.prefixlen) < boards for each in pods):
            problem = f"each Node has a /24 of it, which does not suffice for {boards} boards"
            report.setting(host, config, problem, "write a larger one, such as 10.52.0.0/16", **own)
    if "service-cidr" in chosen and any(each.version == 4 and not 12 <= each.prefixlen <= 26 for each in services):
        problem = "not a size that Kubernetes takes for Services"
        remedy = "write a network from /12 to /26, such as 10.53.0.0/16"
        report.setting(host, config, problem, remedy, inner="service-cidr", value=chosen["service-cidr"])
    for each in texts(chosen, "cluster-dns"):
        own_dns = address(each)
        if own_dns and not any(own_dns.version == each.version and own_dns in each for each in services):
            problem = f"not in the network of Services ({', '.join(map(str, services))})"
            remedy = "write an address in it, or delete the line"
            report.setting(host, config, problem, remedy, inner="cluster-dns", value=chosen["cluster-dns"])


def _overlap_with_boards(
    inventory: Inventory,
    server: Host,
    config: Setting | None,
    key: str,
    what: str,
    used: Network,
    is_chosen: bool,
    report: Report,
) -> None:
    boards = network_of(server, inventory)
    inside = [host for host in inventory.boards() if _any_lies_in(host.get("ansible_host"), used)]
    gateway = server.settings.get("flash_gateway")
    instead = f"write `{key}:` below k3s_server_config with a network that nothing else uses, such as 10.52.0.0/16"
    if boards is not None and boards.overlaps(used) and gateway:
        owner, setting, with_what = server, gateway, f"the boards' network {boards}"
    elif inside:
        owner, setting = inside[0], inside[0].settings["ansible_host"]
        with_what = f"{owner.name}'s address {setting.value}"
    elif reached := [each for each in _USED if _any_lies_in(server.get(each), used)]:
        owner, setting = server, server.settings[reached[0]]
        with_what = f"what boards reach, {reached[0]}"
    else:
        return
    if is_chosen and config:
        problem = f"the network of {what} overlaps {with_what}"
        report.setting(server, config, problem, instead, inner=key, value=str(used))
    else:
        report.setting(owner, setting, f"overlaps k3s's network of {what} {used}", instead)


def _any_lies_in(value: Any, used: Network) -> bool:
    own = [address(each) for each in (value if isinstance(value, list) else [value])]
    return any(each is not None and each.version == used.version and each in used for each in own)
