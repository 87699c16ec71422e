"""Validate the inventory and the control node; no connection to any host is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible import constants, context
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import become_loader, connection_loader, shell_loader
from ansible.release import __version__ as ansible_version
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight import (
    connection,
    control,
    downloads,
    secrets,
    tokens,
)
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.inventory import as_text, check
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.model import Finding, Report

HEADLINE = "{count} found before anything was changed; no board was touched:"


class ActionModule(ActionBase):
    """One list of all errors, or a summary of what was validated."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Validate; the arguments are those of control.Needs, and `scope`, the hosts of the play."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        scope = [str(name) for name in arguments.pop("scope", [])]
        is_whole = bool(arguments.pop("whole", False))
        needs = control.Needs(**arguments)

        report = Report()
        control.check_ansible(ansible_version, needs.ansible_core, report)
        if report.findings():
            return self._failed(report.findings())

        # Not before now: an older ansible-core lacks what it imports.
        from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.reader import Reader

        hostvars = variables["hostvars"]
        base = Path.cwd()
        checkout = Path(__file__).resolve().parents[2]
        inventory, seen = Reader(
            hostvars._inventory,
            hostvars._variable_manager,
            self._loader,
            checkout / "roles",
            base,
        ).read()
        found = check(inventory, seen)
        control.check_networks(needs, report)
        if not found and not report.findings():
            # Its own errors would only repeat those of an invalid inventory, and it connects to the boards' addresses.
            downloads.check(inventory, scope, needs, report)
        # They have their options read.
        connection_loader.get("ssh", class_only=True)
        become_loader.get("sudo", class_only=True)
        shell_loader.get("sh", class_only=True)
        settings = {name: getattr(constants, name) for name in connection.SETTINGS}
        for kind, name in (("connection", "ssh"), ("become", "sudo"), ("shell", "sh")):
            settings |= constants.config.get_plugin_options(kind, name)
        control.check_configuration(constants.CONFIG_FILE, checkout, settings, report)
        connection.check_options(context.CLIARGS, report)
        connection.check_flags(inventory, context.CLIARGS, settings, report)
        limit = context.CLIARGS["subset"]
        control.check_limit(limit, _unmatched(hostvars._inventory), inventory, report)
        if is_whole:
            control.check_whole(inventory, scope, str(limit or ""), report)
        control.check(inventory, scope, needs, report)
        secrets.check_files(inventory, base, report)
        tokens.check_files(inventory, base, report)
        found += report.findings()
        if found:
            return self._failed(found)
        boards = len(inventory.boards())
        return {"changed": False, "msg": f"{boards} boards, {len(inventory.options)} known variables: no error"}

    def _failed(self, found: list[Finding]) -> dict[str, Any]:
        return {"failed": True, "msg": as_text(found, HEADLINE)}


def _unmatched(inventory: Any) -> list[str]:
    """Parts of the limit, also of its files, for which the inventory has neither a host nor a group."""
    # A file of patterns may have empty lines.
    parts = [str(part).lstrip("!&") for part in inventory._subset or () if part]
    return [
        each for each in dict.fromkeys(parts) if each not in inventory.groups and not inventory._match_one_pattern(each)
    ]
