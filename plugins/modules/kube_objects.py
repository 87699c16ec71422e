#!/usr/bin/python
"""Documentation of the action kube_objects, which runs on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kube_objects
short_description: Get objects of one kind from the cluster's API
description:
  - Runs on the control node, also with C(--check). Changes nothing.
  - Fails for an answer of more than 32 MiB, where kubernetes.core.k8s_info reads on. An answer that began has 120 s;
    for what comes before it, write a C(timeout) of the task.
options:
  kubeconfig: {description: Kubeconfig on the control node., type: path, required: true}
  api_version: {description: "As C(apps/v1).", type: str, default: v1}
  resource: {description: "Name of the kind in the API's paths, as C(pods).", type: str, required: true}
  namespace: {description: Namespace of the objects; empty for all and for kinds without one., type: str, default: ''}
  name: {description: The one object to get; empty for all., type: str, default: ''}
  label_selectors: {description: All of them must match., type: list, elements: str, default: []}
  field_selectors: {description: All of them must match., type: list, elements: str, default: []}
  hidden_fields:
    description: Fields that are left out, as C(spec.template), because a task that fails shows its result. Always
      C(metadata.managedFields).
    type: list
    elements: str
    default: []
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.kube_objects:
    kubeconfig: "{{ cluster_secrets_dir }}/kubeconfig"
    resource: pods
    namespace: edge-ai
    field_selectors: [status.phase=Running]
  timeout: 120
"""
RETURN = r"""
resources: {description: "The objects, as the API has them in JSON.", returned: success, type: list, elements: dict}
"""
