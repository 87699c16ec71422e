#!/usr/bin/python
"""Documentation of the action notebooks_results, which runs on the control node and reads on the NFS server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: notebooks_results
short_description: Fetch a run from the NFS server, validate it, and make it the latest results
description:
  - Runs against the NFS server. The archive is read there by M(edge_ai.cluster.shared_data_read), with the rights of
    the directory's owner, and unpacked here by a process with limits on time and memory.
  - Nothing outside of O(results) is created or changed, whatever notebooks write into the shared directory.
options:
  export: {description: The exported directory on the NFS server., type: path, required: true}
  runs:
    description: >-
      Complete runs as
      M(edge_ai.cluster.notebooks_state) returns them (run, archive_sha256). The first usable one is fetched.
    type: list
    elements: dict
    required: true
  results: {description: Directory on the control node for the runs' results., type: path, required: true}
  schema: {description: JSON schema of timings.json., type: path, required: true}
author: Edge AI Cluster
"""
RETURN = """
folder: {description: The directory of the run's results., returned: success, type: str}
"""
