#!/usr/bin/python
"""Documentation of the action container_image, which runs on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_image
short_description: Build the container image, or stream its archive into a node
description:
  - Runs on the control node, and shows its progress.
options:
  command: {description: What to do., type: str, choices: [build, send], required: true}
  options:
    description: >-
      For V(build) options of its program by name, of which lists are repeated; for V(send) archive, k3s, data_dir and
      timeout in seconds.
    type: dict
    required: true
  ssh: {description: "Name, connection, host, port, user, key and args of the node (send).", type: dict}
  label: {description: Prefix of each line that is shown., type: str, default: ''}
author: Edge AI Cluster
"""
