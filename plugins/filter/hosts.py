"""Jinja filter that finds the hosts with the same fact: the first of them does for all what is the same for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any


def hosts_with(hosts: Iterable[str], hostvars: Mapping[str, Any], fact: str, value: Any) -> list[str]:
    """Those of `hosts`, in their order, whose `fact` (a variable, or NAME.KEY of one) is `value`.

    Hosts that do not have the variable, or have it without the key, are left out.
    """
    name, *keys = fact.split(".")
    found = []
    for host in hosts:
        # Of a task that was skipped, a result has none of its keys.
        known = hostvars[host].get(name)
        for key in keys:
            known = known.get(key) if isinstance(known, Mapping) else None
        if known is not None and known == value:
            found.append(host)
    return found


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filter by its name."""
        return {"hosts_with": hosts_with}
