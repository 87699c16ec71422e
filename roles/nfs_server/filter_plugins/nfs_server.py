"""Jinja filter of the nfs_server role: who the export is for, given who has joined or left."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# A role's module_utils are for modules; a filter runs on the control node and has to find them itself.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "module_utils"))

from nfs_server_scope import wanted


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Filters by name."""
        return {"nfs_server_wanted": wanted}
