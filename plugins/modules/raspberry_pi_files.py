#!/usr/bin/python
"""Ansible module: write several small configuration files in one task (each task costs a second on a board)."""

from __future__ import annotations

DOCUMENTATION = r"""
module: raspberry_pi_files
short_description: Write configuration files, owned by root, mode 0644
description:
  - One task for all files of the role, as each task costs a second on a board. A file is replaced as a whole.
options:
  files: {description: "Content by path. Missing directories are created.", type: dict, required: true}
  remove: {description: "A file that is removed before any of them is written.", type: path}
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.raspberry_pi_files:
    files:
      /etc/modules-load.d/edge-ai-cluster.conf: "overlay\n"
"""
RETURN = r"""
written: {description: "Paths that differed.", type: list, elements: str, returned: always}
"""

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils.files import write_text


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={"files": {"type": "dict", "required": True}, "remove": {"type": "path"}},
        supports_check_mode=True,
    )
    os.umask(0o022)
    written, diff = [], []
    for name, content in sorted(module.params["files"].items()):
        path = Path(name)
        old = path.read_text(errors="replace") if path.is_file() else ""
        if path.is_file() and old == content and path.stat().st_mode & 0o777 == 0o644:
            continue
        written.append(name)
        diff.append({"before": old, "after": content, "before_header": name, "after_header": name})
        if not module.check_mode:
            if module.params["remove"]:
                Path(module.params["remove"]).unlink(missing_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, content)
    module.exit_json(changed=bool(written), written=written, diff=diff)


if __name__ == "__main__":
    main()
