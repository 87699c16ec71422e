"""Node objects of the API, as JSON (kubernetes.core, the API itself) or as objects of the Python client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CONTROL_PLANE = "node-role.kubernetes.io/control-plane"


def labels_of(node: Any) -> Mapping[str, str]:
    """Labels of a Node."""
    return _get(_get(node, "metadata"), "labels") or {}


def is_server(node: Any) -> bool:
    """Whether a Node is one of k3s's servers."""
    return CONTROL_PLANE in labels_of(node)


def version_of(node: Any) -> str:
    """The version that a Node's kubelet reports; empty when it never reported one."""
    info = _get(_get(node, "status"), "node_info") or _get(_get(node, "status"), "nodeInfo")
    return str(_get(info, "kubelet_version") or _get(info, "kubeletVersion") or "")


def ready_status(node: Any) -> str:
    """Status of the condition Ready: True, False, or Unknown, which the cluster writes when it hears nothing."""
    return _value(node, "conditions", "Ready", "status") or "Unknown"


def is_ready(node: Any) -> bool:
    """Whether a Node is Ready."""
    return ready_status(node) == "True"


def internal_address(node: Any) -> str:
    """The address that a Node has in the cluster; empty when its kubelet never reported one."""
    return _value(node, "addresses", "InternalIP", "address")


def _value(node: Any, field: str, kind: str, name: str) -> str:
    """`name` of the entry of type `kind` in a list of the status; empty when there is none."""
    entries = _get(_get(node, "status"), field) or []
    return next((str(_get(entry, name)) for entry in entries if _get(entry, "type") == kind), "")


def _get(thing: Any, name: str) -> Any:
    return thing.get(name) if isinstance(thing, Mapping) else getattr(thing, name, None)
