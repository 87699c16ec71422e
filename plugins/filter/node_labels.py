"""Jinja filters of the node_labels role: the nodes' desired labels and taints, and the patches to set them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

#: A label that no kubelet may set on its own Node (admission NodeRestriction): what of the annotation is ours.
SEAL = "node-restriction.kubernetes.io/edge-ai-cluster-managed"
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def node_labels_desired(
    hosts: list[str], hostvars: Mapping[str, Any], groups: dict[str, list[str]], by_group: dict[str, dict[str, str]]
) -> dict[str, dict[str, Any]]:
    """Node name to {labels, taints} for `hosts`, from their groups and their own variables.

    Raises when two groups set different values of one key, or a taint is invalid.
    """
    result: dict[str, dict[str, Any]] = {}
    for host in hosts:
        labels: dict[str, str] = {}
        origin: dict[str, str] = {}
        for group, given in by_group.items():
            if host not in groups.get(group, []):
                continue
            for key, value in given.items():
                if labels.setdefault(key, str(value)) != str(value):
                    raise AnsibleFilterError(
                        f"{host} is in groups {origin[key]} and {group}, which set {key}={labels[key]} and "
                        f"{key}={value}: remove it from one of them"
                    )
                origin[key] = group
        variables = hostvars[host]
        labels |= {key: str(value) for key, value in variables.get("node_labels_labels", {}).items()}
        taints = [dict(taint) for taint in variables.get("node_labels_taints", [])]
        for taint in taints:
            if not taint.get("key") or taint.get("effect") not in EFFECTS:
                raise AnsibleFilterError(
                    f"{host}: a taint in node_labels_taints needs key and effect ({', '.join(EFFECTS)}), not {taint}"
                )
        name = variables.get("k3s_node_name", host).lower()
        result[name] = {"labels": labels, "taints": taints}
    return result


def seal_of(mark: str) -> str:
    """The value of the label that belongs to an annotation."""
    return hashlib.sha256(mark.encode()).hexdigest()[:32]


def managed(metadata: dict[str, Any], annotation: str) -> dict[str, Any]:
    """The labels and taints of a Node that this role set.

    Nothing where the annotation is not the one that was written then. A kubelet may change it: one of a board that
    others control would have an operator's taints, or labels that it may not change itself, removed from here.
    """
    mark = (metadata.get("annotations") or {}).get(annotation) or ""
    sealed = (metadata.get("labels") or {}).get(SEAL) == seal_of(mark)
    return json.loads(mark) if mark and sealed else {}


def node_labels_patches(
    nodes: list[dict[str, Any]], desired: dict[str, dict[str, Any]], annotation: str
) -> list[dict[str, Any]]:
    """Merge patches for those `nodes` (objects of the API) which differ from `desired`.

    The annotation lists the labels and taints that this role set, and the label SEAL shows that it does. Only those
    are removed when they are no longer desired; an existing desired one is adopted. Raises when a desired node does
    not exist.
    """
    present = {node["metadata"]["name"]: node for node in nodes}
    if missing := sorted(set(desired) - set(present)):
        raise AnsibleFilterError(
            f"not in the cluster: {', '.join(missing)} (its nodes: {', '.join(sorted(present))}); join them first"
        )
    patches = []
    for name, target in sorted(desired.items()):
        metadata, spec = present[name]["metadata"], present[name].get("spec", {})
        labels, taints = metadata.get("labels") or {}, spec.get("taints") or []
        own = managed(metadata, annotation)
        own_taints = {tuple(pair) for pair in own.get("taints", [])}
        desired_taints = {(t["key"], t["effect"]) for t in target["taints"]}
        patch: dict[str, Any] = {}

        mark = json.dumps(
            {"labels": sorted(target["labels"]), "taints": sorted(map(list, desired_taints))}, sort_keys=True
        )
        changed: dict[str, str | None] = {k: v for k, v in target["labels"].items() if labels.get(k) != v}
        changed |= {k: None for k in own.get("labels", []) if k not in target["labels"] and k in labels}
        if target["labels"] or target["taints"]:
            if labels.get(SEAL) != seal_of(mark):
                changed[SEAL] = seal_of(mark)
            if (metadata.get("annotations") or {}).get(annotation) != mark:
                patch["metadata"] = {"annotations": {annotation: mark}}
        elif own:
            changed[SEAL] = None
            patch["metadata"] = {"annotations": {annotation: None}}
        if changed:
            patch.setdefault("metadata", {})["labels"] = changed

        others = [t for t in taints if (t["key"], t["effect"]) not in own_taints | desired_taints]
        result = others + target["taints"]
        if sorted(map(taint_key, result)) != sorted(map(taint_key, taints)):
            # The list of taints can only be replaced as a whole.
            patch["spec"] = {"taints": result}

        if patch:
            patch.setdefault("metadata", {})["name"] = name
            patches.append({"apiVersion": "v1", "kind": "Node", **patch})
    return patches


def node_labels_problems(nodes: list[dict[str, Any]], desired: dict[str, dict[str, Any]], annotation: str) -> list[str]:
    """A sentence for each of the `nodes` (objects of the API) whose labels or taints are not as `desired`.

    A desired node that does not exist is none of these.
    """
    present = {node["metadata"]["name"] for node in nodes}
    problems = []
    for patch in node_labels_patches(nodes, {k: v for k, v in desired.items() if k in present}, annotation):
        labels = set(patch["metadata"].get("labels") or {}) - {SEAL}
        differing = [f"label {key}" for key in sorted(labels)] + (["taints"] if "spec" in patch else [])
        if differing:
            problems.append(
                f"Node {patch['metadata']['name']} has not what the inventory says ({', '.join(differing)}): "
                "run ansible-playbook site.yml"
            )
    return problems


def taint_key(taint: dict[str, Any]) -> tuple[str, str, str]:
    """What identifies a taint: not the time when it was added."""
    return taint["key"], taint["effect"], taint.get("value") or ""


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Filters by name."""
        return {
            "node_labels_desired": node_labels_desired,
            "node_labels_patches": node_labels_patches,
            "node_labels_problems": node_labels_problems,
        }
