"""All checks of an inventory, one after the other."""

from __future__ import annotations

from . import (  # fmt: skip
    addresses,
    cards,
    connection,
    formats,
    hub,
    k3s,
    links,
    networks,
    profiles,
    secrets,
    shared,
    topology,
    variables,
)
from .model import Finding, Inventory, Report

CHECKS = (
    topology, shared, addresses, networks, connection, cards, k3s, links, formats, profiles, hub, variables, secrets,
)  # fmt: skip


def check(inventory: Inventory, read_errors: list[Finding]) -> list[Finding]:
    """Every error of an inventory, in the order of its files and lines; an empty list if it is valid."""
    report = Report()
    report.extend(read_errors)
    if inventory.unreadable:
        return report.findings()  # the checks would see what Ansible made of it, not what is written
    for module in CHECKS:
        module.check(inventory, report)
    return report.findings()


def as_text(findings: list[Finding], headline: str) -> str:
    """The list for the user: a headline with the number of errors, then one error a line."""
    count = f"{len(findings)} error{'' if len(findings) == 1 else 's'}"
    return "\n".join([headline.format(count=count), *(f"  {finding}" for finding in findings)])
