#!/usr/bin/python
"""Report what this board is: one module, so that it costs one remote task."""

from __future__ import annotations

DOCUMENTATION = """
module: preflight_info
short_description: Gather information about a board
description:
  - Reads architecture, model, serial number, OS release, memory and free disk of a board, and changes nothing.
options:
  disk_path:
    description: The free space of the file system that contains this path is reported.
    type: path
    default: /var/lib
author: Edge AI Cluster
"""
EXAMPLES = """
- name: Gather information about the board
  edge_ai.cluster.preflight_info:
    disk_path: /var/lib
  register: __preflight_info
"""
RETURN = """
architecture:
  description: The kernel's architecture, such as aarch64.
  type: str
  returned: always
bits:
  description: 64 or 32, of the programs; a 64-bit kernel may run 32-bit programs.
  type: int
  returned: always
model:
  description: The board's model, such as Raspberry Pi 4 Model B Rev 1.4; empty if unknown.
  type: str
  returned: always
serial:
  description: The board's serial number; empty if unknown.
  type: str
  returned: always
release:
  description: VERSION_CODENAME of the OS release, such as trixie.
  type: str
  returned: always
memory_mb:
  description: Memory in MiB, without what the firmware keeps for itself.
  type: int
  returned: always
disk_mb:
  description: Free disk space in MiB.
  type: int
  returned: always
disk_path:
  description: The path of O(disk_path).
  type: str
  returned: always
"""

import platform
import struct
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils.files import free_at
from ansible_collections.edge_ai.cluster.plugins.module_utils.raspberry_pi.hardware import codename, hardware


def main() -> None:
    """Entry point."""
    module = AnsibleModule({"disk_path": {"type": "path", "default": "/var/lib"}}, supports_check_mode=True)
    path = module.params["disk_path"]
    module.exit_json(
        changed=False,
        architecture=platform.machine(),
        bits=struct.calcsize("P") * 8,
        release=codename(),
        disk_mb=free_at(Path(path)) // 2**20,
        disk_path=path,
        **hardware(),
    )


if __name__ == "__main__":
    main()
