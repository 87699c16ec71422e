#!/usr/bin/python
"""Documentation of the action cluster_backup_key, which runs on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_backup_key
short_description: Make the key of backups once, and give it to its owner
description:
  - Where O(secrets) has no key yet, makes one with C(age-keygen) and C(ssh-keygen).
  - What decrypts goes into the new file O(identity), or is shown on the terminal. Only the recipient, and what signs
    backups, stay in O(secrets).
options:
  secrets: {description: Directory of the cluster's secrets., type: path, required: true}
  identity: {description: New file for the owner's key (0600); empty to show it., type: path, default: ''}
  cluster_name: {description: Name of the cluster., type: str, required: true}
  away_from: {description: Directories that O(identity) must not be in., type: list, elements: path, default: []}
author: Edge AI Cluster
"""
