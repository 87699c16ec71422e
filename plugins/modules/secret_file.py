#!/usr/bin/python
"""Documentation of the action secret_file, which runs on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: secret_file
short_description: Write a secret to a file of the control node, or generate it there
description:
  - Runs on the control node, as its user. The file is 0600, replaced as a whole, and on the disk when the task ends.
    A power cut may leave an empty one of ansible.builtin.copy.
  - A generated secret is in no variable, no argument and no result. It ends with a newline.
options:
  path: {description: The file. Its directory must exist., type: path, required: true}
  content: {description: The secret., type: str, no_log: true}
  length: {description: Characters of a secret that is generated., type: int}
  characters:
    description: Which ones; V(letters) and V(lowercase) are with digits.
    type: str
    choices: [letters, lowercase, hex]
    default: letters
  force: {description: Whether to replace a file that exists., type: bool, default: true}
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.secret_file:
    path: "{{ cluster_secrets_dir }}/jupyter-password"
    length: 24
    force: false
"""
