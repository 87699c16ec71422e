"""Addresses that may mount the export: the role's exports file, read and edited. Standard library only, for boards."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from dataclasses import dataclass, field

#: The comment with addresses that were removed from the export.
LEFT_OUT = "# Left out until they join again:"
#: The comment with addresses of the cluster's boards. A file without it may name spare boards that never joined.
JOINED = "# Boards that have joined:"


def is_in(address: str, client: str) -> bool:
    """Whether a client of an exports line is a network (not a mere address) that holds the address."""
    with contextlib.suppress(ValueError):
        return "/" in client and ipaddress.ip_address(address) in ipaddress.ip_network(client, strict=False)
    return False


@dataclass
class Scope:
    """The parts of the exports file: head, quoted path, clients with one set of options, boards that joined or left."""

    head: str
    path: str
    options: str
    clients: list[str] = field(default_factory=list)
    joined: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    tail: str = "\n"

    @classmethod
    def parse(cls, text: str) -> Scope:
        """The parts of a file that the role's template made. ValueError when it is not one."""
        lines = text.splitlines()
        line = next((line for line in lines if line.startswith('"')), None)
        found = re.fullmatch(r'("[^"]+")((?: [^\s(]+\([^)]*\))+)', line or "")
        if not found:
            raise ValueError("does not hold the one line that the role nfs_server writes")
        pairs = re.findall(r" ([^\s(]+)\(([^)]*)\)", found[2])
        if len({options for _, options in pairs}) != 1:
            raise ValueError("clients have different options")
        head = next((line for line in lines if line.startswith("#") and not line.startswith((JOINED, LEFT_OUT))), "")
        tail = text.partition(found[0])[2]
        clients = [client for client, _ in pairs]
        return cls(head, found[1], pairs[0][1], clients, listed(JOINED, text), listed(LEFT_OUT, text), tail)

    def text(self) -> str:
        """The file."""
        lines = [self.head] if self.head else []
        for comment, addresses in ((JOINED, self.joined), (LEFT_OUT, self.left_out)):
            if addresses:
                lines.append(f"{comment} {' '.join(sorted(addresses))}")
        lines.append(self.path + "".join(f" {client}({self.options})" for client in sorted(self.clients)))
        return "\n".join(lines) + self.tail

    def networks_with(self, addresses: list[str]) -> list[str]:
        """Clients that are networks and hold one of the addresses."""
        return [client for client in self.clients if any(is_in(address, client) for address in addresses)]

    def admit(self, addresses: list[str]) -> bool:
        """Let addresses mount; whether that changed the file. One in a network of the file may already."""
        before = self.text()
        self.clients += [a for a in addresses if a not in self.clients and not self.networks_with([a])]
        self.joined = sorted({*self.joined, *addresses})
        self.left_out = [a for a in self.left_out if a not in addresses]
        return self.text() != before

    def leave_out(self, addresses: list[str]) -> bool:
        """Remove addresses from the clients, and record them; whether that changed the file.

        The last client stays: an exports line without clients would be open to every address.
        """
        before = self.text()
        removed = [a for a in addresses if a in self.clients]
        if len(set(self.clients) - set(removed)) == 0:
            removed = removed[1:]
        self.clients = [client for client in self.clients if client not in removed]
        self.joined = [a for a in self.joined if a not in addresses]
        self.left_out = sorted({*self.left_out, *removed})
        return self.text() != before


def listed(comment: str, text: str) -> list[str]:
    """Addresses that an exports file names in one of its comments."""
    line = next((line for line in text.splitlines() if line.startswith(comment)), comment)
    return line.removeprefix(comment).split()


def wanted(clients: list[str], cluster: list[str], spare: list[str], text: str) -> dict[str, list[str]]:
    """{clients, joined, left_out} that the export must have, sorted, given the present file (empty: none yet).

    `clients` are those of the inventory, `cluster` and `spare` the addresses of the boards of these groups. A spare
    board is added or removed when it joins or leaves, so the file decides on it.
    """
    out = [address for address in listed(LEFT_OUT, text) if address not in cluster]
    joined = [address for address in listed(JOINED, text) if address in spare and address not in out]
    single = [a for a in joined if not any(is_in(a, client) for client in clients)]
    return {
        "clients": sorted({*clients, *single} - set(out)),
        "joined": sorted({*filter(None, cluster), *joined}),
        "left_out": sorted(out),
    }
