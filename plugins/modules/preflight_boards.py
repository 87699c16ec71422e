#!/usr/bin/python
"""Documentation of the action preflight_boards, which runs on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight_boards
short_description: Validate what all boards reported
description:
  - Fails with one list of all errors of all boards.
options:
  boards:
    description: What M(edge_ai.cluster.preflight_info) returned, one for each board.
    type: list
    elements: dict
    required: true
author: Edge AI Cluster
"""
