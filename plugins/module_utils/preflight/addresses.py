"""Addresses: each board has its own, in the network of its gateway."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from .model import Host, Inventory, Report, Setting
from .networks import Address, address, network_of

_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")


def check(inventory: Inventory, report: Report) -> None:
    """Report addresses that are missing, malformed, duplicate, or outside their network."""
    taken: dict[Address, tuple[Host, Setting]] = {}
    for host in inventory.boards():
        _address(host, inventory, taken, report)
        _network_settings(host, report)
    _nodes(inventory, report)
    _macs(inventory, report)


def free_address(host: Host, inventory: Inventory) -> str:
    """An address that this board could have: in the gateway's network (or the other boards'), and unused."""
    used = {address(each.get("ansible_host")) for each in inventory.boards()} | {address(host.get("flash_gateway"))}
    within = network_of(host, inventory)
    if within is None or within.version != 4 or within.num_addresses < 16 or within.is_loopback:
        others = sorted(
            str(each)
            for each in used
            if isinstance(each, ipaddress.IPv4Address)
            and each.is_private
            and not (each.is_loopback or each.is_link_local or each.is_unspecified)
        )
        within = ipaddress.ip_network((others[0] if others else "192.168.1.0", 24), strict=False)
    number = sorted(each.name for each in inventory.boards()).index(host.name)
    first = within.network_address + min(11 + number, within.num_addresses - 2)
    return str(next((each for each in (first + step for step in range(200)) if each not in used), first))


def _address(host: Host, inventory: Inventory, taken: dict[Address, tuple[Host, Setting]], report: Report) -> None:
    setting = host.settings.get("ansible_host")
    instead = f"write the board's fixed address, such as {free_address(host, inventory)}"
    if setting is None:
        report.missing(host, "ansible_host", instead)
        return
    if setting.value is None and not setting.plain:
        return  # encrypted, and there is no password
    own = address(setting.value)
    if own is None:
        report.setting(host, setting, "not an IPv4 address", instead)
        return
    if own.version != 4:
        problem = "an IPv6 address: URLs of the API, exports and k3s's networks are made for IPv4"
        report.setting(
            host, setting, problem, f"write the board's IPv4 address, such as {free_address(host, inventory)}"
        )
        return
    if setting.from_command_line and len(inventory.boards()) > 1:
        report.setting(host, setting, "every board would have this address, also with -l", "write it in the inventory")
        return
    if own in taken:
        other, place = taken[own]
        report.setting(host, setting, f"{other.name} has the same address ({place.place})", instead)
        return
    taken[own] = (host, setting)
    within = network_of(host, inventory)
    if own.is_loopback or own.is_multicast or own.is_unspecified or own.is_reserved:
        report.setting(host, setting, "not the address of a board", instead)
    elif within is None or own.version != within.version:
        return
    elif own == address(host.get("flash_gateway")):
        report.setting(host, setting, "this is the gateway's address (flash_gateway)", instead)
    elif own not in within:
        report.setting(host, setting, f"outside the gateway's network {within}", instead)
    elif own == within.network_address:
        report.setting(host, setting, f"this is the address of the network {within} itself", instead)
    elif own.version == 4 and own == within.broadcast_address:
        report.setting(host, setting, f"this is the broadcast address of {within}", instead)


def _network_settings(host: Host, report: Report) -> None:
    gateway = host.settings.get("flash_gateway")
    if gateway and gateway.value not in (None, "") and not _is_v4(gateway.value):
        report.setting(host, gateway, "not an IPv4 address", "write your router's address, such as 192.168.1.1")
    prefix = host.settings.get("flash_prefix")
    if prefix and isinstance(prefix.value, int) and not 8 <= prefix.value <= 30:
        report.setting(host, prefix, "not a usable prefix length", "write a number from 8 to 30, such as 24")
    servers = host.settings.get("flash_nameservers")
    if servers and isinstance(servers.value, list):
        for index, each in enumerate(servers.value):
            own = address(each)
            if own is None or own.is_loopback or own.is_unspecified or own.is_multicast or own.is_link_local:
                report.setting(
                    host,
                    servers,
                    "not an IPv4 or IPv6 address" if own is None else "not an address at which a board finds a server",
                    "write the name server's address, such as 192.168.1.1",
                    inner=str(index),
                    value=each,
                )
    for name, why in (
        ("manifests_nfs_server", "the node mounts it and cannot resolve the cluster's names"),
        ("nfs_server_address", "the server listens on this address only, and a name can resolve to another one"),
    ):
        server = host.settings.get(name)
        if server and server.value and not _is_v4(server.value):
            report.setting(host, server, "not an IPv4 address", f"write the NFS server's address: {why}")


def _nodes(inventory: Inventory, report: Report) -> None:
    """Names and addresses that Nodes have in Kubernetes: a second one of a name or address does not join."""
    names: dict[str, Host] = {}
    addresses: dict[str, Host] = {}
    for host in sorted(inventory.boards(), key=lambda each: "k3s_node_name" in each.settings):
        named = host.settings.get("k3s_node_name")
        name = str(host.get("k3s_node_name", host.name.lower()))
        other = names.setdefault(name, host)
        if named and other is not host and not named.from_command_line:
            remedy = "write another one, or delete the line: by default it is the board's name in the inventory"
            report.setting(host, named, f"{other.name} has the same name in Kubernetes", remedy)
        own = host.settings.get("k3s_node_ip")
        if own is None or own.value in (None, "") or own.from_command_line:
            continue
        if not _is_v4(own.value):
            report.setting(host, own, "not an IPv4 address", "write one of this board, or delete the line")
        elif (other := addresses.setdefault(own.value, host)) is not host:
            report.setting(host, own, f"{other.name} has the same address in Kubernetes", "write one of this board")


def _is_v4(value: Any) -> bool:
    return isinstance(address(value), ipaddress.IPv4Address)


def _macs(inventory: Inventory, report: Report) -> None:
    """MAC addresses and serial numbers of boards, in the variables of any role."""
    seen: dict[tuple[str, str], tuple[Host, Setting]] = {}
    for host in inventory.boards():
        for setting in host.settings.values():
            is_mac = setting.name.endswith(("_mac", "_mac_address"))
            is_serial = setting.name.endswith("_serial") and setting.name != "flash_card_serial"
            if not (is_mac or is_serial) or not isinstance(setting.value, str) or not setting.value:
                continue
            value = setting.value.lower().replace("-", ":")
            if is_mac and not _MAC.fullmatch(value):
                report.setting(
                    host, setting, "not a MAC address", "write six pairs of hex digits, such as dc:a6:32:01:02:03"
                )
            elif (setting.name, value) in seen and not setting.from_command_line:
                other, first = seen[setting.name, value]
                report.setting(
                    host, setting, f"{other.name} has the same one ({first.place})", "write this board's own"
                )
            else:
                seen[setting.name, value] = (host, setting)
