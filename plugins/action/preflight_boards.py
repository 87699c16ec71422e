"""Validate what all boards reported, in one list."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight import image_builder
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.boards import BoardInfo, Limits, check
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.inventory import as_text
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.model import Report

HEADLINE = "{count} found on the boards before anything was changed on them:"


class ActionModule(ActionBase):
    """`boards` is a list of what preflight_info returned, one for each board."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Fail with one list of all errors of all boards."""
        super().run(tmp, task_vars)
        boards = [(BoardInfo.of(each), Limits(**each["limits"])) for each in self._task.args["boards"]]
        report = Report()
        check(boards, report)
        bases = [image_builder.ImageBase(**each["image_base"]) for each in self._task.args["boards"]]
        known = zip(boards, bases, strict=True)
        image_builder.check_emulation(
            [(board.host, board.architecture, base) for (board, _), base in known if board.architecture], report
        )
        found = report.findings()
        if not found:
            return {"changed": False, "msg": f"{len(boards)} boards: no error"}
        return {"failed": True, "msg": as_text(found, HEADLINE)}
