"""Run the module raspberry_pi_info and compare the board's clock with the control node's."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase


def clock_offset(sent: float, received: float, board: list[float]) -> list[float]:
    """Minimum and maximum possible offset (seconds, board minus control node) of a board that read its clock at
    `board[0]` and `board[1]` between our readings `sent` and `received`.
    """
    return [round(board[1] - received, 3), round(board[0] - sent, 3)]


class ActionModule(ActionBase):
    """Adds `clock_offset` to the module's result and keeps the board as the fact `raspberry_pi_board`."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module once."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        sent = time.time()
        result.update(self._execute_module(module_name="edge_ai.cluster.raspberry_pi_info", task_vars=task_vars))
        received = time.time()
        if "board" in result:
            result["clock_offset"] = clock_offset(sent, received, result.pop("clock"))
            # Where facts are cached this persists between runs: a board that joins alone is compared with the others.
            identity = {key: result["board"][key] for key in ("hostname", "machine_id", "serial", "model", "memory_mb")}
            result["ansible_facts"] = {"raspberry_pi_board": identity}
        return result
