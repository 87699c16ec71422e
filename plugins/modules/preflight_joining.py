#!/usr/bin/python
"""Documentation of the action preflight_joining, which runs on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight_joining
short_description: Validate boards that will join against the running cluster
description:
  - Queries the cluster's API; no connection to a board is made.
  - Fails with one list of all errors.
options:
  kubeconfig: {description: Kubeconfig on the control node., type: path, required: true}
  node_token_file: {description: "The join token, on the control node.", type: path, required: true}
  boards:
    description: Boards in scope; host, node, address, version, spare (not in the group cluster), named (by --limit).
    type: list
    elements: dict
    required: true
author: Edge AI Cluster
"""
RETURN = r"""
joining: {description: Hosts that are missing in the cluster., type: list, elements: str, returned: success}
"""
