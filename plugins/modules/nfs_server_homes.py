#!/usr/bin/python
"""Ansible module: limit the homes of the hub's users. Runs on the NFS server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nfs_server_homes
short_description: Limit what homes on the export hold
description:
  - Creates a directory for each home with the rights of the export's owner, and gives it a project quota.
  - Follows no link.
  - In check mode it reports what homes hold, and changes nothing.
  - A home that cannot be limited stays as it is, with a warning.
options:
  export: {description: The exported directory., type: path, required: true}
  homes: {description: Names of the users., type: list, elements: str, required: true}
  limit_mb: {description: MiB that a home may hold; 0 for no limit., type: int, required: true}
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.nfs_server_homes:
    export: /srv/books
    homes: [alice, bob]
    limit_mb: 2048
"""
RETURN = r"""
homes:
  description: For each home that is there, C(used_mb) and C(limit_mb), the limit that is enforced; 0 for none.
  type: dict
  returned: always
"""

import dataclasses
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils import shared_data
from ansible_collections.edge_ai.cluster.plugins.module_utils.nfs import homes
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import OutOfTime, Refused

SECONDS = 60
"""Every file of a home is opened once."""


def limited(export: Path, name: str, limit_mb: int, pretend: bool) -> tuple[bool, dict[str, int] | None]:
    """Whether a home changed, and what it holds; None for one that is not there. Raises Refused, OSError."""
    changed = False if pretend else homes.create(export, name)
    try:
        changed = bool(homes.limit(export, name, limit_mb, pretend)) or changed
        return changed, dataclasses.asdict(homes.report(export, name))
    except FileNotFoundError:
        return pretend, None


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "export": {"type": "path", "required": True},
            "homes": {"type": "list", "elements": "str", "required": True},
            "limit_mb": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    export = Path(module.params["export"])
    shared_data.limit_process(SECONDS, shared_data.MEMORY, f"homes of {export} are limited")
    changed = False
    found: dict[str, Any] = {}
    try:
        for name in module.params["homes"]:
            try:
                now, home = limited(export, name, module.params["limit_mb"], module.check_mode)
                changed |= now
                if home:
                    found[name] = home
            except (Refused, OSError, subprocess.TimeoutExpired) as error:
                module.warn(f"home of {name}: {shared_data.printable(error)}")
    except (OutOfTime, MemoryError) as error:
        module.warn(f"{error or 'not enough memory'}")
    module.exit_json(changed=changed, homes=found)


if __name__ == "__main__":
    main()
