"""All judges of an inventory, one after the other."""

from __future__ import annotations

from . import addresses, cards, k3s, links, secrets, shared, topology, variables
from .model import Finding, Inventory, Report

JUDGES = (topology, shared, addresses, cards, k3s, links, variables, secrets)


def judge(inventory: Inventory, seen_while_reading: list[Finding]) -> list[Finding]:
    """Every error of an inventory, in the order of its files and lines; an empty list if it is good."""
    report = Report()
    report.extend(seen_while_reading)
    if inventory.unreadable:
        return report.findings()  # what Ansible made of it would be judged, not what is written
    for judge_of in JUDGES:
        judge_of.judge(inventory, report)
    return report.findings()


def as_text(findings: list[Finding], headline: str) -> str:
    """The list as a person reads it: a headline with the number of errors, then one error a line."""
    count = f"{len(findings)} error{'' if len(findings) == 1 else 's'}"
    return "\n".join([headline.format(count=count), *(f"  {finding}" for finding in findings)])
