#!/usr/bin/python
"""Documentation of the action notebooks_wait, which runs on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: notebooks_wait
short_description: Wait for a notebook's Job
description:
  - Runs on the control node. Watches the Job's pod, and shows its state when it changes and every ten seconds.
  - Fails early for a pod that is unschedulable, or whose container cannot start, with the cluster's own reason.
options:
  kubeconfig: {description: Kubeconfig on the control node., type: path, required: true}
  namespace: {description: Namespace of the Job., type: str, required: true}
  job: {description: Name of the Job., type: str, required: true}
  uid: {description: "UID of the Job, by which its pods are found.", type: str, required: true}
  title: {description: Its name in messages., type: str, required: true}
  timeout: {description: Maximum seconds to wait., type: int, required: true}
  last: {description: Duration of its last run in seconds; 0 if it never ran., type: float, default: 0}
  export: {description: "The NFS export that is /books in the pod, as host:directory.", type: str, required: true}
author: Edge AI Cluster
"""
RETURN = """
node: {description: The node that ran it., returned: success, type: str}
seconds: {description: Seconds from the pod's start to its end on this node., returned: success, type: float}
"""
