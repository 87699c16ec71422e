#!/usr/bin/python
"""Documentation of the action notebooks_results, which runs on the control node and reads on the NFS server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: notebooks_results
short_description: Fetch a run from the NFS server, check it, and make it the latest results
description:
  - Runs against the NFS server. The archive is read there by M(edge_ai.cluster.shared_data_read), with the rights of
    the folder's owner, and unpacked here by a process with limits on time and memory.
  - Nothing outside of O(results) is created or changed, whatever notebooks put into the shared folder.
options:
  export: {description: The exported folder on the NFS server., type: path, required: true}
  runs:
    description: >-
      Complete runs as
      M(edge_ai.cluster.notebooks_state) gives them (run, archive_sha256). The first usable one is taken.
    type: list
    elements: dict
    required: true
  results: {description: Folder on the control node that gets a folder for the run., type: path, required: true}
  schema: {description: JSON schema of timings.json., type: path, required: true}
author: Edge AI Cluster
"""
RETURN = """
folder: {description: The folder of the run's results., returned: success, type: str}
"""
