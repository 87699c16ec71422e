"""Jinja filters for texts of boards and notebooks: on one line, or fit to be shared with strangers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.edge_ai.cluster.plugins.module_utils.redact import redact
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import printable


def one_line(text: Any) -> str:
    """A text as one line, with control and direction characters as escapes: it cannot begin another one."""
    return printable(text, 2000)


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Filters by name."""
        return {"one_line": one_line, "redact": redact}
