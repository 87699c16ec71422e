#!/usr/bin/python
"""Documentation of the action notebooks_wait, which runs on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: notebooks_wait
short_description: Wait for a notebook's Job
description:
  - Runs on the control node. Watches the Job's pod, and shows its state when it changes and every ten seconds.
  - Fails at once for a pod that no node takes, or whose container cannot start, with the cluster's own reason.
options:
  kubeconfig: {description: Kubeconfig on the control node., type: path, required: true}
  namespace: {description: Namespace of the Job., type: str, required: true}
  job: {description: Name of the Job., type: str, required: true}
  title: {description: What a person calls it., type: str, required: true}
  timeout: {description: Seconds to wait at most., type: int, required: true}
  last: {description: Seconds that it took last time; 0 when it never ran., type: float, default: 0}
  books: {description: Where /books of the pod lies, as host:folder., type: str, required: true}
author: Edge AI Cluster
"""
RETURN = """
node: {description: The node that ran it., returned: success, type: str}
seconds: {description: Seconds from the pod's start to its end on this node., returned: success, type: float}
"""
