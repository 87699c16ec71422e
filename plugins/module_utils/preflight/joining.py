"""Boards that will join: does the cluster already know their names or addresses, and from which machine?"""

from __future__ import annotations

from dataclasses import dataclass

from ..k3s.version import is_newer
from .model import Place, Report


@dataclass(frozen=True)
class Candidate:
    """A board in scope. `named`: by --limit; `spare`: declared, but not in the group cluster."""

    host: str
    node: str
    address: str
    version: str
    spare: bool
    named: bool


@dataclass(frozen=True)
class Member:
    """A Node of the cluster."""

    name: str
    address: str
    ready: bool
    server: bool
    version: str


def check(candidates: list[Candidate], members: list[Member], report: Report) -> list[str]:
    """Report names and addresses that belong to another machine; return the hosts to join.

    Those are spare boards, boards that were named, and boards of the cluster whose Node is missing or not Ready.
    """
    by_name = {member.name: member for member in members}
    wanted = []
    for board in candidates:
        node = by_name.get(board.node)
        if not (board.spare or board.named) and node is not None and node.ready:
            continue
        wanted.append(board.host)
        _check_board(board, node, members, report)
    return wanted


def _check_board(board: Candidate, node: Member | None, members: list[Member], report: Report) -> None:
    place = Place(board.host)
    if node is not None and node.address not in ("", board.address):
        report.add(
            place,
            "Node name",
            board.node,
            f"the cluster has a Node of this name at {node.address}, not at {board.address}: another machine",
            "give this board another name, or correct ansible_host; if that machine is permanently gone, run "
            f"kubectl delete node {board.node}",
        )
    for other in members:
        if other.address == board.address and other.name != board.node:
            report.add(
                place,
                "ansible_host",
                board.address,
                f"Node {other.name} of the cluster has this address",
                "give this board another address, or remove that node first (playbooks/remove-node.yml -l "
                f"{other.name})",
            )
    if node is None:
        servers = [member.version for member in members if member.server]
        newer_than = [version for version in servers if is_newer(board.version, version)]
        if newer_than:
            report.add(
                place,
                "k3s_version",
                board.version,
                f"the cluster's servers run {newer_than[0]}, and an agent must not be newer",
                "run playbooks/upgrade.yml first, or join with -e k3s_version=" + newer_than[0],
            )
