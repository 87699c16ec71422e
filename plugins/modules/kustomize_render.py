#!/usr/bin/python
"""Ansible module: render a kustomization, given as text, with the kustomize inside k3s's kubectl."""

# Runs on a server with its own Python and the standard library only.

from __future__ import annotations

DOCUMENTATION = r"""
module: kustomize_render
short_description: Render a kustomization on a host with kubectl
description:
  - Writes O(files) to a temporary directory of root, runs kubectl kustomize there, returns its output and
    removes the directory.
  - Changes nothing, so it also runs in check mode. It never fails for what is in the files, it returns RV(error)
    instead, because a task with secrets must be no_log and would hide the reason.
options:
  files:
    description: Relative path to content.
    type: dict
    required: true
  target:
    description: Directory in O(files) whose kustomization.yaml is rendered.
    type: str
    required: true
  command:
    description: The kustomize command; the directory is appended.
    type: list
    elements: str
    default: [/usr/local/bin/k3s, kubectl, kustomize]
author: Edge AI Cluster
"""

EXAMPLES = r"""
- name: Render the manifests
  edge_ai.cluster.kustomize_render:
    files: "{{ ['/srv/repo/k8s'] | edge_ai.cluster.kustomize_tree }}"
    target: srv/repo/k8s/overlays/split
"""

RETURN = r"""
text: {description: The objects as a YAML stream; empty on an error., type: str, returned: always}
error: {description: The error of kustomize; empty on success., type: str, returned: always}
"""

import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils.command import LATE, MISSING, run


def render(files: dict[str, str], target: str, command: list[str]) -> tuple[str, str]:
    """Output and error of kustomize over `files`; one of them is empty. Raises ValueError for a path outside."""
    # Directories of tempfile are 0700.
    with tempfile.TemporaryDirectory(prefix="kustomize-") as name:
        root = Path(name)
        for relative, content in files.items():
            path = (root / relative).resolve()
            if not path.is_relative_to(root.resolve()):
                raise ValueError(f"{relative} is outside the tree")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        done = run(*command, str(root / target))
        if done.status in (LATE, MISSING):
            return "", f"{' '.join(command)}: {done.errors}"
        if done.status:
            return "", done.errors.strip().replace(str(root), "") or f"exit status {done.status}"
        return done.output, ""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "dict", "required": True},
            "target": {"type": "str", "required": True},
            "command": {
                "type": "list",
                "elements": "str",
                "default": ["/usr/local/bin/k3s", "kubectl", "kustomize"],
            },
        },
        supports_check_mode=True,
    )
    try:
        text, error = render(module.params["files"], module.params["target"], module.params["command"])
    except ValueError as problem:
        text, error = "", str(problem)
    module.exit_json(changed=False, text=text, error=error)


if __name__ == "__main__":
    main()
