#!/usr/bin/python
"""Documentation of the action notebooks_files, which sends files of the control node to the NFS server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: notebooks_files
short_description: Copy files of the control node into the shared directory
description:
  - Packs them here, sends the archive to the NFS server, and unpacks it there by M(edge_ai.cluster.shared_data_unpack).
options:
  files: {description: Path below the export to the file's path here., type: dict, required: true}
  export: {description: The exported directory., type: path, required: true}
author: Edge AI Cluster
"""
