#!/usr/bin/python
"""Documentation of the action cluster_check_objects, which runs on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_check_objects
short_description: Report what is wrong with the objects of a cluster
description:
  - Changes nothing. Runs on the control node. Nodes, pods, Deployments, claims, and what of that which site.yml made is
    gone.
  - An API that does not answer, or not in time, is a problem and no failure.
options:
  kubeconfig: {description: Kubeconfig on the control node., type: path, required: true}
  namespace: {description: Namespace of the workload., type: str, required: true}
  record: {description: ConfigMap in which the role manifests records what it made., type: str, required: true}
  boards: {description: Names that Nodes must have., type: list, elements: str, default: []}
  packaged: {description: Deployments of k3s in kube-system., type: list, elements: str, default: []}
  server: {description: Address of a board at which Jupyter is reached., type: str, required: true}
  ingress: {description: Whether Jupyter is reached over https where it has no node port., type: bool, default: true}
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.cluster_check_objects:
    kubeconfig: "{{ cluster_secrets_dir }}/kubeconfig"
    namespace: edge-ai
    record: manifests-applied
    server: 10.0.0.11
"""
RETURN = r"""
problems: {description: "What is wrong and what to do, a sentence each.", type: list, elements: str, returned: always}
nodes: {description: How many Nodes there are., type: int, returned: always}
jupyters: {description: The address of each Jupyter., type: list, elements: str, returned: always}
"""
