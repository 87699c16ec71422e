"""The kubeconfig that the k3s role fetches from a server to the control node."""

from __future__ import annotations

#: How its first line begins: another file in its place is the user's own.
FETCHED = "# Fetched by the k3s role"
