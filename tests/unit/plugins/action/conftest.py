"""Backups as tests/support/backups.py makes them."""

from tests.support.backups import backup, export, faults, finished, k3s, live, node_parts, owner

__all__ = ["backup", "export", "faults", "finished", "k3s", "live", "node_parts", "owner"]
