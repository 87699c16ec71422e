"""Jinja filter for what boards say: one line of a message, which cannot begin another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import printable


def one_line(text: Any) -> str:
    """A text as one line, with control and direction characters as escapes."""
    return printable(text, 2000)


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filter by its name."""
        return {"one_line": one_line}
