"""Settings of the kernel, compared with those that are wanted. Standard library only: it runs on boards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.edge_ai.cluster.plugins.module_utils.files import text_of


def differing(wanted: dict[str, Any], root: Path = Path("/proc/sys")) -> dict[str, str | None]:
    """Those that are not as `wanted`, with their present value; None for one that this kernel does not have."""
    found = {}
    for name, value in wanted.items():
        path = root.joinpath(*name.split("."))
        present = text_of(path).strip() if path.exists() else None
        if present is None or present.split() != str(value).split():
            found[name] = present
    return found
