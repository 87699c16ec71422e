"""Exports files of a board: one line is the role's (scope.py), all others are parsed and left alone.

Standard library only: it runs on boards.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ansible_collections.edge_ai.cluster.plugins.module_utils.files import text_of
from ansible_collections.edge_ai.cluster.plugins.module_utils.mounts import unescaped

#: What the NFS server exports at this moment.
ETAB = Path("/var/lib/nfs/etab")


def export_lines(text: str) -> list[str]:
    """Lines of an exports file with continuations joined and without comments."""
    joined = text.replace("\\\n", " ")
    return [line.strip() for line in (re.sub(r"#.*", "", raw) for raw in joined.splitlines()) if line.strip()]


def exported_path(line: str) -> str:
    """Path of an exports line, which may be quoted and hold octal escapes for blanks."""
    match = re.match(r'"([^"]+)"|(\S+)', line)
    return unescaped(match[1] or match[2]) if match else ""


def active_clients(etab: str, directory: str) -> list[str]:
    """Clients that a directory is exported to, with their options, by the text of ETAB, which has a line for each."""
    return [line.split()[-1] for line in etab.splitlines() if exported_path(line) == directory]


def is_root_export(line: str) -> bool:
    """Whether a line claims the NFSv4 root, of which there can be one."""
    return bool(re.search(r"[(,](fsid=0|fsid=root)[,)]", line.replace(" ", "")))


def foreign_exports(own: Path, root: Path = Path("/etc")) -> list[dict[str, Any]]:
    """Export lines of others: file, path, whether it is the NFSv4 root."""
    files = [root / "exports", *sorted((root / "exports.d").glob("*.exports"))]
    return [
        {"file": str(file), "path": exported_path(line), "root": is_root_export(line)}
        for file in files
        if file != own
        for line in export_lines(text_of(file))
    ]
