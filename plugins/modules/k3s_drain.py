#!/usr/bin/python
"""Documentation of the action k3s_drain, which runs on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: k3s_drain
short_description: Query a cluster's nodes, drain one, or uncordon it
description:
  - Runs on the control node with its Python client for Kubernetes.
  - Evicts, never deletes, so that disruption budgets are respected; waits until the pods are gone, and shows which.
  - Pods of DaemonSets stay, so do finished ones. A Job's pod is waited for, because a Job that was evicted has failed.
  - A pod without a controller, and one with emptyDir data outside O(emptydir_namespaces), is an error.
options:
  kubeconfig: {description: Kubeconfig on the control node., type: path, required: true}
  state: {description: V(known) changes nothing., type: str, choices: [known, drained, released], required: true}
  node: {description: The node to drain or release., type: str}
  timeout: {description: Seconds that draining may take., type: int, default: 300}
  emptydir_namespaces:
    description: Where pods may lose emptyDir data; V(*) for everywhere.
    type: list
    elements: str
    default: []
  mark:
    description:
      - Annotation that records whether the node was cordoned here or before. V(released) uncordons only
        the former; without a mark on the node it does nothing.
    type: str
    required: true
  reason: {description: What is written into the mark., type: str, default: ''}
author: Edge AI Cluster
"""
RETURN = """
api: {description: Empty, or why the API does not answer (V(known))., type: str, returned: known}
nodes:
  description: "name, ready, version, server, unschedulable, mark (null or {reason, cordoned}) of every Node."
  returned: known
  type: list
blockers:
  description: "node, kind (controller, job, data) and text of each pod that keeps its node from being drained."
  returned: known
  type: list
evicted: {description: Pods that were evicted., returned: drained, type: list}
"""
