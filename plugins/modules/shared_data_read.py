#!/usr/bin/python
"""Ansible module: read a part of a file in the shared directory, which is untrusted."""

from __future__ import annotations

DOCUMENTATION = r"""
module: shared_data_read
short_description: Read a part of a regular file in the shared directory
description:
  - Runs on the NFS server. Reads with the rights of the directory's owner, follows no link, opens only a regular file.
  - A part, so that neither side needs memory for the whole file; the reader verifies the whole by its digest.
options:
  export: {description: The exported directory., type: path, required: true}
  name: {description: Path of the file below it., type: str, required: true}
  limit: {description: Maximum size of the whole file in bytes., type: int, required: true}
  offset: {description: Offset of the part in bytes., type: int, default: 0}
  length: {description: Maximum size of the part in bytes., type: int, default: 4194304}
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.shared_data_read:
    export: /srv/books
    name: runs/20261122T021530Z-1a2b3c4d/results.tar.gz
    limit: 33554432
"""
RETURN = r"""
content: {description: The part in base64., type: str, returned: success}
refused: {description: Whether the file is unusable., type: bool, returned: failed}
size: {description: Size of the whole file in bytes., type: int, returned: success}
"""

import base64
import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils import shared_data


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "export": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "limit": {"type": "int", "required": True},
            "offset": {"type": "int", "default": 0},
            "length": {"type": "int", "default": 4 << 20},
        },
        supports_check_mode=True,
    )
    export, name = Path(module.params["export"]), module.params["name"]
    try:
        shared_data.limit_process(shared_data.SECONDS, shared_data.MEMORY, f"{export / name} is read")
        with shared_data.as_owner(export), shared_data.opened(export, name, module.params["limit"]) as file:
            content = os.pread(file.fileno(), module.params["length"], module.params["offset"])
            size = os.fstat(file.fileno()).st_size
    except (shared_data.Refused, shared_data.OutOfTime, FileNotFoundError, MemoryError) as error:
        module.fail_json(msg=f"{error or 'not enough memory'}", refused=True)
    except OSError as error:
        module.fail_json(msg=f"{shared_data.printable(export / name)}: {error.strerror}", refused=False)
    module.exit_json(changed=False, content=base64.b64encode(content).decode(), size=size)


if __name__ == "__main__":
    main()
