#!/usr/bin/python
"""Documentation of the action cluster_backup, which runs on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_backup
short_description: Make, check or send a backup
description:
  - V(make) streams from the boards into a hidden directory and renames it when it is complete and was read back.
  - V(check) reads a backup and the servers' public CA; changes nothing.
  - V(send) streams one archive to a board. V(token) writes the backup's token to where the control node keeps it.
options:
  do: {description: What to do., type: str, choices: [make, check, send, token, move], required: true}
  directory: {description: "All backups of this cluster, or one (send, token).", type: path, required: true}
  manifest: {description: What is written into the manifest beside files (make)., type: dict, default: {}}
  parts:
    description: Name, title, ssh, arguments and bytes (expected) of each archive (make).
    type: list
    elements: dict
    default: []
  keep: {description: How many backups are kept; 0 for all (make)., type: int, default: 0}
  wanted: {description: The value of restore_from (check)., type: str, default: ''}
  expect:
    description: >-
      cluster_name, k3s_version, servers (number), apis (URLs), ssh_ports (name, host, port), token_file,
      agent_token_file, over.
    type: dict
    default: {}
  part: {description: "Name, title, ssh and arguments of the archive (send).", type: dict, default: {}}
  timeout: {description: Seconds that one archive may take., type: int, default: 3600}
author: Edge AI Cluster
"""
