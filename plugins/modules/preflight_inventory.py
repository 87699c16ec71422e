#!/usr/bin/python
"""Documentation of the action preflight_inventory, which runs on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight_inventory
short_description: Validate the inventory and the control node
description:
  - No connection to any host is made; downloads are only queried.
  - Fails with one list of all errors, each with file, line, key and remedy.
options:
  scope: {description: Hosts of the play., type: list, elements: str, default: []}
  whole: {description: Whether a limit may leave out no part of the cluster., type: bool, default: false}
  ansible_core: {description: The oldest series of ansible-core that is supported., type: str, required: true}
  programs:
    description: Programs the control node needs; program, package, purpose, and when_set (a variable).
    type: list
    elements: dict
    required: true
  python_packages: {description: Python packages the control node needs., type: list, elements: str, required: true}
  networks: {description: Networks this machine must have an interface in., type: list, elements: str, required: true}
  cache_free_mb: {description: MiB that must be free for the cache., type: int, required: true}
  check_urls: {description: Whether downloads are queried., type: bool, required: true}
  url_timeout: {description: Seconds for each query., type: float, required: true}
  hint: {description: What is added to errors of downloads., type: str, required: true}
author: Edge AI Cluster
"""
