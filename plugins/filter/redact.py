"""Jinja filter that makes texts fit to be shared with strangers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.edge_ai.cluster.plugins.module_utils.redact import redact


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filter by its name."""
        return {"redact": redact}
