#!/usr/bin/python
"""Documentation of the action cluster_backup, which runs on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_backup
short_description: Make, open, check or send a backup
description:
  - V(make) streams from the boards into a hidden directory and renames it when it is complete, encrypted and signed.
  - V(open) verifies a backup, all of it. V(control) writes secrets and inventories where there are none.
  - V(check) compares a backup with the inventory and the servers' public CA; changes nothing.
  - V(send) streams one archive to a board. V(token) writes the backup's token to where the control node keeps it.
options:
  do: {description: What to do., type: str, choices: [make, open, control, check, send, token, move], required: true}
  directory: {description: "All backups of this cluster (make, open), or one.", type: path, required: true}
  identity: {description: The file with the owner's key (all but make)., type: str, default: ''}
  secrets: {description: Directory of the cluster's secrets (make)., type: path, default: ''}
  inventories: {description: Inventories of this run (make)., type: list, elements: str, default: []}
  targets: {description: "Part (secrets, inventory/0, ...) to its path (control).", type: dict, default: {}}
  cluster_name: {description: "Of which cluster the backup must be, if that is known (open).", type: str, default: ''}
  manifest:
    description: What is written into the manifest beside files (make), or that of the backup (check).
    type: dict
    default: {}
  parts:
    description: Name, title, ssh, arguments and bytes (expected, and at most as limit) of each archive (make).
    type: list
    elements: dict
    default: []
  keep: {description: How many backups are kept; 0 for all (make)., type: int, default: 0}
  copy_to: {description: "Second place: a directory, or user@host:directory (make).", type: str, default: ''}
  copy_ssh_args: {description: Arguments of sftp to it (make)., type: str, default: ''}
  wanted: {description: The value of restore_from (open)., type: str, default: ''}
  expect:
    description: >-
      cluster_name, k3s_version, servers (number), apis (URLs), ssh_ports (name, host, port), token_file,
      agent_token_file, over.
    type: dict
    default: {}
  part: {description: "Name, title, sha256, ssh and arguments of the archive (send).", type: dict, default: {}}
  timeout: {description: Seconds that one archive may take., type: int, default: 3600}
author: Edge AI Cluster
"""
