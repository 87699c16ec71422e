#!/usr/bin/python
"""Documentation of the action notebooks_clean, which runs on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: notebooks_clean
short_description: Delete the Jobs of earlier runs
description:
  - Runs on the control node. Deletes Jobs by a label, and waits for the end of their pods on Nodes that are Ready.
  - Pods on a Node that is not Ready are left to its kubelet, which ends them when the board is back.
options:
  kubeconfig: {description: Kubeconfig on the control node., type: path, required: true}
  namespace: {description: Namespace of the Jobs., type: str, required: true}
  selector: {description: Label selector of the Jobs and of their pods., type: str, required: true}
author: Edge AI Cluster
"""
RETURN = """
jobs: {description: Names of the Jobs that were deleted., returned: success, type: list, elements: str}
"""
