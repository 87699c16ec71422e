"""The lab's network: a namespace with a bridge, a cable per board, and a gateway that is this machine.

Everything on this machine's side has the instance's name, so that `down` removes exactly that.
"""

import json
from pathlib import Path

from lab.command import run, succeeds
from lab.errors import LabError
from lab.progress import say
from lab.settings import Board, Settings

OFFLOADS = ("tso", "gso", "gro", "tx", "rx", "sg")
"""With any of these on at a veth end TCP stalls: User-mode Linux neither fills in checksums nor splits."""

MAX_MAP_COUNT = 4_194_304
"""Each mapped page run of a guest is a mapping of its process: with the default 65530 a guest with much mapped
memory (TensorFlow) spins indefinitely in page faults."""

FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
MAP_COUNT = Path("/proc/sys/vm/max_map_count")
BRIDGE = "br0"
UPLINK = "gw"
PREFIX = "edge-"
"""How the interfaces of all labs on this machine begin."""


def host_end(settings: Settings) -> str:
    """The gateway's interface on this machine."""
    return f"{PREFIX}{settings.name}"


def board_end(board: Board) -> str:
    """The interface that is the network device of a board of amd64; QEMU has the other end itself."""
    return board.name


def switch_end(board: Board) -> str:
    """The other end of a board's cable, in the bridge."""
    return f"b-{board.name}"


def cable_commands(settings: Settings) -> list[list[str]]:
    """Commands that make namespace, bridge, gateway and a cable per board, where there is nothing yet."""
    namespace, host = settings.namespace, host_end(settings)
    inside = ["ip", "-n", namespace]
    cables: list[tuple[str, str | None]] = [(UPLINK, None)]
    commands = [
        ["ip", "netns", "add", namespace],
        [*inside, "link", "set", "lo", "up"],
        [*inside, "link", "add", BRIDGE, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0"],
        ["ip", "link", "add", host, "type", "veth", "peer", "name", UPLINK, "netns", namespace],
    ]
    for board in settings.boards:
        near, far = switch_end(board), board_end(board)
        if board.arch == "arm64":
            # It stays when QEMU ends.
            commands.append([*inside, "tuntap", "add", "dev", near, "mode", "tap"])
            cables.append((near, None))
        else:
            commands.append([*inside, "link", "add", near, "type", "veth", "peer", "name", far])
            cables.append((near, far))
    in_namespace = [BRIDGE, *(end for cable in cables for end in cable if end)]
    for interface in in_namespace:
        # The ends are wires: this machine must not speak IPv6 on them.
        commands.append([*inside, "link", "set", interface, "addrgenmode", "none"])
        commands.append(["nsenter", f"--net=/run/netns/{namespace}", *_offloads_off(interface)])
    commands.append(["ip", "link", "set", host, "addrgenmode", "none"])
    commands.append(_offloads_off(host))
    commands += [[*inside, "link", "set", near, "master", BRIDGE] for near, _ in cables]
    commands += [[*inside, "link", "set", interface, "up"] for interface in in_namespace]
    commands.append(["ip", "address", "add", f"{settings.gateway}/24", "dev", host])
    commands.append(["ip", "link", "set", host, "up"])
    return commands


def _offloads_off(interface: str) -> list[str]:
    return ["ethtool", "-K", interface, *(word for offload in OFFLOADS for word in (offload, "off"))]


def firewall(settings: Settings) -> list[tuple[str, str, str, list[list[str]]]]:
    """The instance's chains: (table, built-in chain that jumps to it, its name, its rules)."""
    host = host_end(settings)
    subnet = f"{settings.subnet}.0/24"
    name = f"EDGE-{settings.name.upper()}"
    clamp = ["-p", "tcp", "--tcp-flags", "SYN,RST", "SYN", "-j", "TCPMSS", "--clamp-mss-to-pmtu"]
    replies = ["-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"]
    served = [
        ["-p", "udp", "--dport", "53"],
        ["-p", "tcp", "--dport", "53"],
        ["-p", "udp", "--dport", "123"],
        ["-p", "tcp", "--dport", str(settings.mirror_port)],
        ["-p", "icmp", "--icmp-type", "echo-request"],
    ]
    return [
        ("nat", "POSTROUTING", f"{name}-NAT", [["-s", subnet, "!", "-d", subnet, "-j", "MASQUERADE"]]),
        # Of this machine boards reach what the gateway serves, and nothing more, at no address.
        (
            "filter",
            "INPUT",
            f"{name}-IN",
            [
                ["-i", host, *replies],
                *(["-i", host, "-d", settings.gateway, *service, "-j", "ACCEPT"] for service in served),
                ["-i", host, "-j", "REJECT"],
            ],
        ),
        # Boards get out, but not to other labs; only this machine itself, which forwards nothing to do so, gets in.
        (
            "filter",
            "FORWARD",
            f"{name}-FWD",
            [
                ["-i", host, "-o", f"{PREFIX}+", "-j", "REJECT"],
                ["-i", host, "-s", subnet, "-j", "ACCEPT"],
                ["-i", host, "-j", "DROP"],
                ["-o", host, *replies],
                ["-o", host, "-j", "REJECT"],
            ],
        ),
        # The way out of this machine may have a smaller MTU than 1500.
        ("mangle", "FORWARD", f"{name}-MSS", [["-i", host, *clamp], ["-o", host, *clamp]]),
    ]


def firewall_commands(settings: Settings) -> list[list[str]]:
    """Commands that put the instance's chains in place."""
    commands = []
    for table, builtin, chain, rules in firewall(settings):
        iptables = ["iptables", "-w", "-t", table]
        commands.append([*iptables, "-N", chain])
        commands += [[*iptables, "-A", chain, *rule] for rule in rules]
        commands.append([*iptables, "-I", builtin, "1", "-j", chain])
    return commands


def up(settings: Settings) -> None:
    """Make the network if it is not whole, and reconnect every board.

    Raises:
        LabError: the subnet is in use by something else of this machine.
    """
    if not is_up(settings):
        _refuse_foreign_subnet(settings)
        down(settings)
        for command in cable_commands(settings):
            run(*command)
        for command in firewall_commands(settings):
            run(*command)
        say(f"network {settings.subnet}.0/24 is up, gateway {settings.gateway}")
    if FORWARD.read_text().strip() == "0":
        (settings.run.parent / "ip_forward.was").write_text("0")
        FORWARD.write_text("1")
    if int(MAP_COUNT.read_text()) < MAX_MAP_COUNT:
        MAP_COUNT.write_text(str(MAX_MAP_COUNT))
    for board in settings.boards:
        if is_cut(settings, board):
            heal(settings, board)
            say(f"{board.name}: network cable reconnected")


def down(settings: Settings) -> None:
    """Remove whatever there is of the instance's network."""
    for table, builtin, chain, _ in firewall(settings):
        iptables = ["iptables", "-w", "-t", table]
        while succeeds(*iptables, "-D", builtin, "-j", chain):
            pass
        succeeds(*iptables, "-F", chain)
        succeeds(*iptables, "-X", chain)
    succeeds("ip", "link", "delete", host_end(settings))
    succeeds("ip", "netns", "delete", settings.namespace)


def restore_machine(settings: Settings) -> None:
    """Undo what all instances of the lab share; for the last one that goes.

    ip_forward becomes what it was. The mount that `ip netns` made for itself goes if nothing else uses it.
    (vm.max_map_count stays: lowering it could break a process that was started later, and a high one does no harm.)
    """
    was = settings.run.parent / "ip_forward.was"
    if was.exists():
        FORWARD.write_text(was.read_text())
        was.unlink()
    names = Path("/run/netns")
    if names.is_mount() and not any(names.iterdir()):
        run("umount", names)


def is_up(settings: Settings) -> bool:
    """Whether namespace, cables, address and chains are all there."""
    namespace = settings.namespace
    names = _interfaces(namespace)
    wanted = {BRIDGE, UPLINK, *map(switch_end, settings.boards)}
    wanted |= {board_end(board) for board in settings.boards if board.arch != "arm64"}
    host = run("ip", "-json", "address", "show") if wanted <= names else "[]"
    addresses = [
        address.get("local")
        for link in json.loads(host)
        if link.get("ifname") == host_end(settings)
        for address in link.get("addr_info", [])
    ]
    return settings.gateway in addresses and all(
        succeeds("iptables", "-w", "-t", table, "-C", builtin, "-j", chain)
        for table, builtin, chain, _ in firewall(settings)
    )


def pids(settings: Settings) -> list[int]:
    """Processes in the instance's namespace."""
    if not Path(f"/run/netns/{settings.namespace}").exists():
        return []
    if not succeeds("ip", "netns", "pids", settings.namespace):
        return []
    return [int(pid) for pid in run("ip", "netns", "pids", settings.namespace).split()]


def cut(settings: Settings, board: Board) -> None:
    """Pull a board's network cable."""
    run("ip", "-n", settings.namespace, "link", "set", switch_end(board), "down")


def heal(settings: Settings, board: Board) -> None:
    """Plug a board's network cable in again."""
    run("ip", "-n", settings.namespace, "link", "set", switch_end(board), "up")


def is_cut(settings: Settings, board: Board) -> bool:
    """Whether a board's network cable is pulled."""
    links = json.loads(run("ip", "-n", settings.namespace, "-json", "link", "show", "dev", switch_end(board)))
    return "UP" not in links[0]["flags"]


def _interfaces(namespace: str) -> set[str]:
    if not succeeds("ip", "-n", namespace, "link"):
        return set()
    return {link["ifname"] for link in json.loads(run("ip", "-n", namespace, "-json", "link"))}


def _refuse_foreign_subnet(settings: Settings) -> None:
    for route in json.loads(run("ip", "-json", "route", "show", "table", "all")):
        destination = str(route.get("dst", ""))
        if destination.startswith(f"{settings.subnet}.") and route.get("dev") != host_end(settings):
            raise LabError(
                f"{settings.subnet}.0/24 is in use on this machine ({destination} on {route.get('dev')}): "
                "set EDGE_LAB_SUBNET to another /24, such as EDGE_LAB_SUBNET=10.78.0"
            )
