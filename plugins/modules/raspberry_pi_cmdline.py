#!/usr/bin/python
"""Ansible module: add tokens to the kernel command line of a Raspberry Pi."""

from __future__ import annotations

DOCUMENTATION = r"""
module: raspberry_pi_cmdline
short_description: Add tokens to cmdline.txt, atomically
description:
  - Appends what is missing; never removes or reorders anything, so root=PARTUUID and Raspberry Pi OS's own tokens stay.
  - The original file is kept as a backup beside it.
options:
  path: {description: "The file on the boot partition.", type: path, required: true}
  tokens: {description: "Tokens that it must contain.", type: list, elements: str, required: true}
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.raspberry_pi_cmdline:
    path: /boot/firmware/cmdline.txt
    tokens: [cgroup_enable=memory]
"""
RETURN = r"""
line: {description: "The command line as it is now.", type: str, returned: success}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils.files import write_text
from ansible_collections.edge_ai.cluster.plugins.module_utils.raspberry_pi.hardware import edit_cmdline


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "tokens": {"type": "list", "elements": "str", "required": True},
        },
        supports_check_mode=True,
    )
    path = Path(module.params["path"])
    try:
        old = path.read_text(encoding="utf-8")
        new = edit_cmdline(old, module.params["tokens"])
        if new != old and not module.check_mode:
            backup = path.with_name(f"{path.name}.before-edge-ai")
            if not backup.exists():
                write_text(backup, old, mode=None)
            write_text(path, new, mode=None)
    except ValueError as error:
        module.fail_json(msg=f"{path}: {error}")
    except OSError as error:
        module.fail_json(msg=f"{path} cannot be edited ({error.strerror}): is the boot partition mounted writable?")
    module.exit_json(changed=new != old, line=new.strip(), diff={"before": old, "after": new})


if __name__ == "__main__":
    main()
