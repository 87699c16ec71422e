#!/usr/bin/python
"""Documentation of the action k3s_forget, which runs on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: k3s_forget
short_description: Delete a Node, the pods that were bound to it, and its node password, in this order
description:
  - Runs on the control node with its Python client for Kubernetes. k3s must be stopped on the board before.
  - With O(fresh), for a board with a new card, only what certainly belongs to that board is deleted. The Node must have
    the board's address, and no kubelet may renew its lease; a Node that was Ready until now is waited for.
options:
  kubeconfig: {description: Kubeconfig on the control node., type: path, required: true}
  server: {description: URL of the API server to ask instead of the kubeconfig's., type: str, default: ''}
  node: {description: Name of the node., type: str, required: true}
  fresh: {description: Whether a board with an empty card will take over the name., type: bool, default: false}
  address: {description: The address of that board; empty when only k3s knows it., type: str, default: ''}
  password:
    description: The node password on that board's card; a Node with this password is the board's own, and stays.
    type: str
    no_log: true
    default: ''
  timeout: {description: Seconds for each wait., type: int, default: 120}
author: Edge AI Cluster
"""
RETURN = """
deleted: {description: What was deleted., returned: always, type: list}
"""
