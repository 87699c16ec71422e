"""The order of files: those that run playbooks take most of the time, and begin first."""

from __future__ import annotations

import pytest

from tests.support import ansible_playbook, kustomize, terminal

RUNNERS = (ansible_playbook, kustomize, terminal, terminal.Terminal)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One that begins last would be waited for by all other processes."""
    runs: dict[object, bool] = {}

    def small(item: pytest.Item) -> bool:
        module = getattr(item, "module", None)
        if module not in runs:
            runs[module] = any(each is one for each in getattr(module, "__dict__", {}).values() for one in RUNNERS)
        return not runs[module]

    items.sort(key=small)
