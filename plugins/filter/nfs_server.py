"""Jinja filter of the nfs_server role: which addresses may mount the export, given which boards have joined or left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.edge_ai.cluster.plugins.module_utils.nfs.scope import wanted


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Filters by name."""
        return {"nfs_server_wanted": wanted}
