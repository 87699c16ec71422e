"""Validate boards that will join against the running cluster; no board is queried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube import nodes
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.api import (
    REMEDY,
    REQUEST,
    KubeconfigError,
    connected,
    reason,
)
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.inventory import as_text
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.joining import Candidate, Member, check
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.model import Place, Report
from kubernetes import client
from urllib3.exceptions import HTTPError

HEADLINE = "{count} found before anything was changed; no board was touched:"


def member(node: Any) -> Member:
    """The member that a Node of the API is."""
    return Member(
        name=node.metadata.name,
        address=nodes.internal_address(node),
        ready=nodes.is_ready(node),
        server=nodes.is_server(node),
        version=nodes.version_of(node),
    )


class ActionModule(ActionBase):
    """`kubeconfig`, `node_token_file`, and `boards`: dictionaries with the fields of Candidate."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Fail with one list of all errors, or return `joining`, the hosts to join."""
        super().run(tmp, task_vars)
        kubeconfig = Path(str(self._task.args["kubeconfig"]))
        report = Report()
        joining: list[str] = []
        try:
            members = self._members(kubeconfig)
            joining = check([Candidate(**board) for board in self._task.args["boards"]], members, report)
        except KubeconfigError as error:
            report.add(Place(str(kubeconfig)), "cluster", None, error.problem, REMEDY)
        except (client.ApiException, HTTPError) as error:
            problem = f"its API is unreachable: {reason(error)}"
            remedy = "fix its servers first (journalctl -u k3s on them), boards can only join a running cluster"
            report.add(Place(str(kubeconfig)), "cluster", None, problem, remedy)
        token = Path(str(self._task.args["node_token_file"]))
        if joining and not token.is_file():
            remedy = "run site.yml without --limit, it fetches the token from the server"
            report.add(Place(str(token)), "join token", None, "missing on the control node", remedy)
        if found := report.findings():
            return {"failed": True, "msg": as_text(found, HEADLINE)}
        message = f"boards to join: {', '.join(joining)}" if joining else "every board is in the cluster"
        return {"changed": False, "joining": joining, "msg": message}

    def _members(self, kubeconfig: Path) -> list[Member]:
        with connected(kubeconfig) as api:
            return [member(node) for node in client.CoreV1Api(api).list_node(_request_timeout=REQUEST).items]
