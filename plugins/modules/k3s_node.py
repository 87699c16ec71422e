#!/usr/bin/python
"""Ansible module: report the state of k3s on this node; with `wait`, until it is ready."""

# Runs on the board with the board's Python and nothing but the standard library.

from __future__ import annotations

DOCUMENTATION = r"""
module: k3s_node
short_description: Report the state of k3s on this node, or wait until it is ready
description:
  - Reads digests of the binary, the image archive and the files of the role, the state of the unit, the symlinks,
    the API's readiness (server) and this node's own Node object.
  - Changes nothing but a record of the digests of the two large files, in O(data_dir).
  - With O(wait) above 0 it polls until everything is ready, and fails with the unit's own last journal lines.
options:
  unit:
    description: The unit of this node's role.
    type: str
    choices: [k3s, k3s-agent]
    required: true
  node_name:
    description: Name of this node in Kubernetes.
    type: str
    required: true
  binary:
    description: Where the k3s binary is.
    type: path
    required: true
  data_dir:
    description: The data directory of k3s.
    type: path
    required: true
  files:
    description: Files whose digest and mode are returned.
    type: list
    elements: path
    default: []
  live_files:
    description: The same of files that k3s reads again while it runs; a change of them makes nothing outdated.
    type: list
    elements: path
    default: []
  archive:
    description: Name of the air-gap archive in agent/images, V({arch}) being the architecture; empty for none.
    type: str
    default: ''
  secrets_path:
    description: Directory of the secret files named in O(secrets).
    type: path
    default: /etc/rancher/k3s
  secrets:
    description: File name to expected content. Only whether they agree is returned, never the content or its digest.
    type: dict
    default: {}
  cluster_token:
    description: The password a server's existing cluster is expected to have (short form).
    type: str
    default: ''
  agent_token:
    description: The password of agents that a server's cluster is expected to have (short form).
    type: str
    default: ''
  node_token:
    description: The full token this server is expected to give to agents.
    type: str
    default: ''
  kernel:
    description: Name of a kernel parameter to the value that kubelet demands with C(protect-kernel-defaults).
    type: dict
    default: {}
  version:
    description: Version that the Node must report when O(wait) is above 0.
    type: str
    default: ''
  proxy_metrics:
    description: URL of kube-proxy's metrics; when given, O(wait) also waits for its first complete set of rules.
    type: str
    default: ''
  control_time:
    description: Unix time of the control node, which this node's clock is compared with in messages; 0 for none.
    type: float
    default: 0
  wait:
    description: Seconds to wait until the unit is active, the API answers and the Node is Ready. 0 only reports.
    type: int
    default: 0
  until:
    description: What O(wait) waits for; V(token) is that the server has written the token for agents.
    type: str
    choices: [ready, token]
    default: ready
author: Edge AI Cluster
"""

EXAMPLES = r"""
- name: Get the state of k3s
  edge_ai.cluster.k3s_node:
    unit: k3s-agent
    node_name: pi-02
    binary: /usr/local/bin/k3s
    data_dir: /var/lib/rancher/k3s
    files: [/etc/rancher/k3s/config.yaml]
"""

RETURN = r"""
architecture: {description: As `uname -m` says., type: str, returned: always}
binary: {description: Digest and version; both null when there is none., type: dict, returned: always}
archive: {description: SHA-256 of the air-gap archive or null., type: str, returned: always}
files: {description: "Path to {sha256, mode}; both null when absent.", type: dict, returned: always}
secrets: {description: "Name to {current, mode}.", type: dict, returned: always}
cluster_token: {description: "absent, same or other (servers).", type: str, returned: always}
encryption: {description: Whether this server has a key that encrypts Secrets., type: bool, returned: always}
kernel: {description: "Those of O(kernel) that differ, with their value or null.", type: dict, returned: always}
agent_token:
  description: absent (no cluster), shared (agents have the server's token), same or other (servers).
  type: str
  returned: always
node_token_same: {description: Whether the server's agent-token is O(node_token)., type: bool, returned: always}
kubeconfig: {description: SHA-256 of the server's own k3s.yaml or null., type: str, returned: always}
missing_links: {description: Of kubectl crictl ctr those that are not on this node., type: list, returned: always}
password: {description: "Whether there is a node password: it has joined before.", type: bool, returned: always}
other_unit: {description: Whether the unit of the other role is here., type: bool, returned: always}
service: {description: "active, sub, enabled, started (Unix s), restarts.", type: dict, returned: always}
outdated: {description: Files that changed after the running process was started., type: list, returned: always}
api: {description: Whether /readyz answers (server) or the Node can be read (agent)., type: bool, returned: always}
node:
  description: >-
    ready, version, marks (this project's annotations); of this node's Node object. registered: false when there is none
    though k3s runs.
  type: dict
  returned: always
certificates:
  description: >-
    ends (day, ISO 8601), days (until then, negative when it is over, by this node's clock), file, and renewable
    (whether a restart of k3s renews it) of the certificate of k3s that ends first; null without one.
  type: dict
  returned: always
node_ip: {description: "The address in k3s's configuration on this node, empty for none.", type: str, returned: always}
etcd: {description: "Whether this server is a member of etcd, which knows its address.", type: bool, returned: always}
pods: {description: "Why pods here do not work: their bridge, or stale mounts.", type: list, returned: always}
"""

import json
import os
import re
import stat
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils import sysctl
from ansible_collections.edge_ai.cluster.plugins.module_utils.command import run, unit
from ansible_collections.edge_ai.cluster.plugins.module_utils.digests import Digests
from ansible_collections.edge_ai.cluster.plugins.module_utils.files import sha256_of
from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s import certificate, local, pods, token, version
from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s.journal import advice, journal_tail
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.nodes import is_ready

ARCHES = {"x86_64": "amd64", "aarch64": "arm64"}
BIN_DIRS = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin")
# k3s repeats a permanent error indefinitely (TimeoutStartSec=0); this many seconds of it are enough.
GRACE_S = 20
CRASHES = 5
NO_NODE: dict[str, Any] = {"ready": False, "version": None, "registered": True, "marks": []}
MARKS = "edge-ai-cluster/"
# In the data directory, which a reset removes.
DIGESTS = ".edge-ai-cluster-digests.json"


def digest(path: Path) -> str | None:
    """SHA-256 of a file in hex, None when there is no such file."""
    return sha256_of(path) if path.is_file() else None


def mode(path: Path) -> str | None:
    """Permission bits as Ansible writes them (`0600`), None when there is no such file."""
    try:
        return f"{stat.S_IMODE(path.stat().st_mode):04o}"
    except FileNotFoundError:
        return None


def difference(seconds: float) -> str:
    """How a clock that is `seconds` ahead of the control node's differs from it; empty for less than a minute."""
    if abs(seconds) < 60:
        return ""
    days = abs(seconds) / certificate.DAY_S
    amount = f"{days:.0f} days" if days >= 2 else f"{abs(seconds):.0f} s"
    return f"{amount} {'ahead of' if seconds > 0 else 'behind'} the control node's"


def changed_since(paths: list[Path], started: int, now: float) -> list[str]:
    """Those of the files that changed after Unix second `started`; none for 0.

    A change that is later than `now` is of a clock that was ahead: it would count after each restart, too.
    """
    return [
        str(path) for path in paths if started and path.exists() and started < int(path.stat().st_ctime) <= int(now) + 1
    ]


def configured_address(path: Path) -> str:
    """The IPv4 address that a config.yaml of this project has as node-ip; empty without one."""
    text = path.read_text(errors="replace") if path.is_file() else ""
    found = re.search(r"^node-ip: ['\"]?([0-9.]+)['\"]?$", text, re.MULTILINE)
    return found.group(1) if found else ""


class Node:
    """The k3s of this machine, as seen through files, systemd and its own API."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.unit: str = module.params["unit"]
        self.server = self.unit == "k3s"
        self.binary = Path(module.params["binary"])
        self.data = Path(module.params["data_dir"])
        self.secrets_dir = Path(module.params["secrets_path"])
        self.clock = time.time() - (module.params.get("control_time") or time.time())
        self.awaited: dict[str, Any] | None = None
        self.pod_networks: list[str] = []

    def service(self) -> dict[str, Any]:
        """State of the unit, as systemd sees it."""
        names = "ActiveState,SubState,UnitFileState,NRestarts,ExecMainStartTimestamp"
        values = unit(self.unit, names, "--timestamp=unix")
        started = values.get("ExecMainStartTimestamp", "").lstrip("@")
        return {
            "active": values.get("ActiveState", "unknown"),
            "sub": values.get("SubState", "unknown"),
            "enabled": values.get("UnitFileState") == "enabled",
            "restarts": int(values.get("NRestarts") or 0),
            "started": int(started) if started.isascii() and started.isdigit() else 0,
        }

    def outdated(self, started: int) -> list[str]:
        """Files which changed after the process was started at Unix second `started`: it has not read them."""
        # Whole seconds: a start in the same second as the change counts as later, which is the order the role works in.
        watched = [self.binary, *map(Path, self.module.params["files"])]
        watched += [self.secrets_dir / name for name in self.module.params["secrets"]]
        return changed_since(watched, started, time.time())

    def ask(self, path: str) -> tuple[int, str]:
        """Status and body of the API's answer to this node's kubelet."""
        return local.ask(self.data / "agent/kubelet.kubeconfig", path)

    def health(self) -> dict[str, Any]:
        """Whether the API answers, and what it says of this node."""
        result: dict[str, Any] = {"api": False, "node": dict(NO_NODE)}
        if self.server and self.ask("/readyz")[0] != 200:
            return result
        status, text = self.ask(f"/api/v1/nodes/{self.module.params['node_name']}")
        result["api"] = self.server or status == 200
        result["node"]["registered"] = status != 404
        if status == 200:
            node = json.loads(text)
            # Until k3s's cloud controller has seen the node, nothing is scheduled on it.
            known = "node.cloudprovider.kubernetes.io/uninitialized" not in {
                taint["key"] for taint in node["spec"].get("taints", [])
            }
            result["node"] |= {
                "ready": known and is_ready(node),
                "version": node["status"].get("nodeInfo", {}).get("kubeletVersion"),
                "marks": [name for name in node["metadata"].get("annotations", {}) if name.startswith(MARKS)],
            }
            self.pod_networks = node["spec"].get("podCIDRs", [])
        return result

    def cluster_token(self) -> str:
        """Whether this server already belongs to a cluster, and to the one whose token is given."""
        path = self.data / "server/token"
        if not path.exists():
            return "absent"
        same = token.password(path.read_text()) == self.module.params["cluster_token"]
        return "same" if same else "other"

    def encryption(self) -> bool:
        """Whether k3s was started with secrets-encryption here, or prepared for it by `k3s secrets-encrypt enable`."""
        path = self.data / "server/cred/encryption-config.json"
        return self.server and path.exists() and path.stat().st_size > 0

    def agent_token(self) -> str:
        """Whether this server's cluster has a token of its own for agents, and the one that is given."""
        path = self.data / "server/agent-token"
        if not (self.data / "server/token").exists():
            return "absent"
        if path.is_symlink() or not path.exists():
            return "shared"
        same = token.password(path.read_text()) == self.module.params["agent_token"]
        return "same" if same else "other"

    def missing_links(self) -> list[str]:
        """Commands of k3s which neither the distribution nor a link provides."""
        return [name for name in local.COMMANDS if not any(os.path.lexists(f"{d}/{name}") for d in BIN_DIRS)]

    def report(self) -> dict[str, Any]:
        """Everything the role wants to know."""
        params = self.module.params
        digests = Digests(self.data / DIGESTS)
        service = self.service()
        arch = ARCHES.get(os.uname().machine, "unknown")
        archive = self.data / "agent/images" / params["archive"].replace("{arch}", arch)
        # For agents: the link node-token is always to the server's.
        node_token = self.data / "server/agent-token"
        other = "k3s-agent" if self.server else "k3s"
        sha256 = digests.of(self.binary)
        outdated = self.outdated(service["started"])
        health: dict[str, Any] = {"api": False, "node": dict(NO_NODE)}
        if service["active"] == "active":
            # What was just waited for is not asked again: a busy board may not answer in time the second time.
            health = self.awaited or self.health()
        # Asking the binary takes a second; what runs from it has already said.
        running = health["node"]["version"] if not outdated else None
        found = {
            "architecture": os.uname().machine,
            "binary": {"sha256": sha256, "version": running or version.installed(self.binary) if sha256 else None},
            "archive": digests.of(archive) if params["archive"] else None,
            "files": {
                p: {"sha256": digest(Path(p)), "mode": mode(Path(p))} for p in params["files"] + params["live_files"]
            },
            "secrets": {
                name: {
                    "current": (path := self.secrets_dir / name).is_file()
                    and path.read_text().strip() == str(content).strip(),
                    "mode": mode(path),
                }
                for name, content in params["secrets"].items()
            },
            "cluster_token": self.cluster_token() if self.server else "absent",
            "encryption": self.encryption(),
            "kernel": sysctl.differing(params["kernel"]),
            "agent_token": self.agent_token() if self.server else "absent",
            "node_token_same": self.server
            and node_token.exists()
            and node_token.read_text().strip() == params["node_token"].strip(),
            "kubeconfig": digest(Path("/etc/rancher/k3s/k3s.yaml")) if self.server else None,
            "missing_links": self.missing_links(),
            "password": Path("/etc/rancher/node/password").exists(),
            "other_unit": Path(f"/etc/systemd/system/{other}.service").exists(),
            "service": service,
            "outdated": outdated,
            **health,
            "node_ip": configured_address(self.secrets_dir / "config.yaml"),
            "etcd": (self.data / "server/db/etcd/member").is_dir(),
            "certificates": certificate.first_end(self.data, time.time(), service["started"]),
            "pods": pods.broken(self.pod_networks),
        }
        digests.keep()
        return found

    def journal(self, since: float) -> list[str]:
        """Lines the unit logged since Unix time `since`."""
        options = ("-o", "cat", "--no-pager", "-n", "400", f"--since=@{int(since)}")
        return run("journalctl", "-u", self.unit, *options).output.splitlines()

    def wait(self, timeout: int) -> None:
        """Return when the node is ready; fail with lines of the journal when it will not be."""
        begin, began_at = time.monotonic(), time.time()
        restarts = self.service()["restarts"]
        complaint, complaint_since = "", 0.0
        while True:
            service = self.service()
            lacks = self.lacks(service)
            if not lacks:
                return
            spent = time.monotonic() - begin
            lines = self.journal(began_at - 2)
            todo, permanent = advice(lines[-20:], self.module.params["node_name"])
            if not permanent:
                complaint = ""
            elif todo != complaint:
                complaint, complaint_since = todo, spent
            failed = (complaint and spent - complaint_since > GRACE_S) or service["restarts"] - restarts >= CRASHES
            if spent > timeout or failed:
                todo = todo or advice(lines, self.module.params["node_name"])[0]
                self.fail(lacks, lines, todo, spent, bool(failed))
            time.sleep(1)

    def lacks(self, service: dict[str, Any]) -> str:
        """What is still missing, empty when nothing is."""
        if self.module.params["until"] == "token":
            path = self.data / "server/agent-token"
            return "" if path.exists() and token.parse(path.read_text()) else "it has written no token for agents"
        if service["active"] != "active" or self.outdated(service["started"]):
            return f"{self.unit}.service is {service['active']} ({service['sub']}, {service['restarts']} restarts)"
        health = self.health()
        if not health["api"]:
            return "the API does not answer on /readyz" if self.server else "the API does not know this node yet"
        if not health["node"]["ready"]:
            return f"Node {self.module.params['node_name']} is not Ready"
        wanted = self.module.params["version"]
        if wanted and health["node"]["version"] != wanted:
            return f"Node {self.module.params['node_name']} still runs {health['node']['version']}, not {wanted}"
        if self.module.params["proxy_metrics"] and not local.proxy_synced(self.module.params["proxy_metrics"]):
            return "kube-proxy has not updated its rules"
        self.awaited = health
        return ""

    def fail(self, lacks: str, lines: list[str], todo: str, spent: float, failed: bool) -> None:
        """End the module with all that the operator needs."""
        tail = journal_tail(lines)
        why = "will not become ready" if failed else "is not ready"
        message = [f"{self.unit} {why} after {spent:.0f} s: {lacks}."]
        message += ["Last lines of its journal:", *(f"  {line}" for line in tail)] if tail else []
        message += [f"What to do: {todo}"] if todo else []
        if clock := difference(self.clock):
            message += [f"The clock of this board is {clock}: check `timedatectl` on both."]
        message += [f"More: journalctl -u {self.unit} on this node."]
        self.module.fail_json(msg="\n".join(message), journal=tail)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "choices": ["k3s", "k3s-agent"], "required": True},
            "node_name": {"type": "str", "required": True},
            "binary": {"type": "path", "required": True},
            "data_dir": {"type": "path", "required": True},
            "files": {"type": "list", "elements": "path", "default": []},
            "live_files": {"type": "list", "elements": "path", "default": []},
            "archive": {"type": "str", "default": ""},
            "secrets_path": {"type": "path", "default": "/etc/rancher/k3s", "no_log": False},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "cluster_token": {"type": "str", "default": "", "no_log": True},
            "agent_token": {"type": "str", "default": "", "no_log": True},
            "node_token": {"type": "str", "default": "", "no_log": True},
            "kernel": {"type": "dict", "default": {}},
            "version": {"type": "str", "default": ""},
            "proxy_metrics": {"type": "str", "default": ""},
            "control_time": {"type": "float", "default": 0},
            "wait": {"type": "int", "default": 0},
            "until": {"type": "str", "choices": ["ready", "token"], "default": "ready"},
        },
        supports_check_mode=True,
    )
    node = Node(module)
    if module.params["wait"]:
        node.wait(module.params["wait"])
    module.exit_json(changed=False, **node.report())


if __name__ == "__main__":
    main()
