#!/usr/bin/python
"""Documentation of the action notebooks_exec, which runs on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: notebooks_exec
short_description: Run a command in a pod, and read a limited output
description:
  - Runs on the control node. Returns what the command writes to its standard output, whatever its exit status is.
  - Fails when that is more than 4096 bytes, where kubernetes.core.k8s_exec reads on. How long it may take is the task's
    C(timeout).
options:
  kubeconfig: {description: Kubeconfig on the control node., type: path, required: true}
  namespace: {description: Namespace of the pod., type: str, required: true}
  pod: {description: Name of the pod., type: str, required: true}
  container: {description: Name of the container in it., type: str, required: true}
  command: {description: Program and arguments., type: list, elements: str, required: true}
author: Edge AI Cluster
"""
RETURN = """
stdout: {description: What the command wrote., returned: success, type: str}
"""
