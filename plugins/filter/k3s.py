"""Jinja filters of the k3s role: release digests, versions, tokens, kubeconfig. Pure functions."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s import keys, removal, token
from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s.kubeconfig import FETCHED
from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s.networks import api_port, networks_of_k3s
from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s.version import parse, release_problem, servers_problem
from ansible_collections.edge_ai.cluster.plugins.module_utils.values import plain

SUM_LINE = re.compile(r"([0-9a-f]{64}) [ *](\S+)")


def k3s_sum(text: str, asset: str) -> str:
    """SHA-256 of the release asset named exactly `asset` in the text of a sha256sum-<arch>.txt.

    Exactly, because `k3s` is also the beginning of the three other names in that file. Raises when it is absent or
    has two digests.
    """
    sums: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        found = SUM_LINE.fullmatch(line.strip())
        if not found:
            raise AnsibleFilterError(f"not a line of a sha256sum file: {line!r}; check k3s_release_url")
        # Release files name the asset alone; some mirrors put a path before it.
        name = found.group(2).rsplit("/", 1)[-1]
        if sums.setdefault(name, found.group(1)) != found.group(1):
            raise AnsibleFilterError(f"the sum file has two different digests of {name}; check k3s_release_url")
    if asset not in sums:
        known = ", ".join(sorted(sums)) or "none"
        raise AnsibleFilterError(f"the sum file has no line for {asset}; it has: {known}; check k3s_release_url")
    return sums[asset]


def k3s_is_downgrade(wanted: str, installed: str | None) -> bool:
    """Whether `wanted` is older than what is `installed`; never when nothing (or nothing known) is."""
    there, new = parse(installed or ""), parse(wanted)
    if there is None:
        return False
    if new is None:
        raise AnsibleFilterError(f"not a k3s version: {wanted!r}; write it as in v1.36.4+k3s1")
    return new.key < there.key


def _only_text(value: Any) -> str:
    """The text that a value is. Raises TypeError for another one: by aliases, its text may be longer than memory."""
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} where base64 should be")
    return value


def k3s_kubeconfig(text: str, server: str, name: str) -> str:
    """A server's k3s.yaml for use elsewhere: other address, `name` for context, cluster and user instead of `default`.

    Its first line shows what it was made from (`k3s_kubeconfig_mark`): the next run compares it.
    """
    try:
        config: dict[str, Any] = yaml.safe_load(text)
        first, second = config["clusters"][0]["cluster"], config["users"][0]["user"]
        # Nothing else: a kubeconfig may also name a program that its reader starts, a file that it sends, a proxy.
        cluster = {key: _only_text(first[key]) for key in ("certificate-authority-data",)}
        user = {key: _only_text(second[key]) for key in ("client-certificate-data", "client-key-data")}
    except (KeyError, IndexError, TypeError, yaml.YAMLError) as error:
        raise AnsibleFilterError(f"k3s.yaml of the server is not a kubeconfig: {error!r}") from error
    result = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {**cluster, "server": server}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    source = hashlib.sha256(text.encode()).hexdigest()
    # Ansible hands over strings of its own kind, which YAML's dumper does not know and JSON's does.
    plain = json.loads(json.dumps(result))
    return f"{k3s_kubeconfig_mark(source, server, name)}\n{yaml.safe_dump(plain, sort_keys=False)}"


def k3s_kubeconfig_mark(source_sha256: str, server: str, name: str) -> str:
    """First line of a kubeconfig that this role made from a k3s.yaml of that digest."""
    return f"{FETCHED}: {name} at {server}, from k3s.yaml of sha256 {source_sha256}"


def k3s_is_full_token(text: str) -> bool:
    """Whether a text is a token in its full form, as servers write theirs."""
    return token.parse(text) is not None


def k3s_pending(node: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """What of `wanted` this node lacks, by name, empty when the role has nothing to do on it.

    `node` is what the k3s_node module reported. `wanted` has binary and archive (SHA-256; archive may be empty),
    files ([{dest, sha256, mode}]), version, and certificate_days: certificates that end sooner are renewed.
    """
    result = []
    if node["binary"]["sha256"] != wanted["binary"]:
        result.append("binary")
    if wanted["archive"] and node["archive"] != wanted["archive"]:
        result.append("archive")
    for file in wanted["files"]:
        if node["files"].get(file["dest"]) != {"sha256": file["sha256"], "mode": file["mode"]}:
            result.append(file["dest"])
    result += [name for name, s in node["secrets"].items() if not s["current"] or s["mode"] != "0600"]
    if node["outdated"]:
        result.append("restart")
    ending = node["certificates"]
    if ending and ending["renewable"] and ending["days"] < wanted["certificate_days"]:
        result.append("certificates")
    if node["pods"]:
        result.append("pods")
    if node["service"]["active"] != "active" or not node["service"]["enabled"]:
        result.append("start")
    elif not node["node"]["registered"]:
        # kubelet makes its Node when it starts, and only then.
        result.append("registration")
    elif not node["api"] or not node["node"]["ready"] or node["node"]["version"] != wanted["version"]:
        result.append("ready")
    return result


def k3s_sum_problem(text: str, assets: list[str]) -> str:
    """Why a sum file is of no use for `assets`; empty when it names each once."""
    try:
        for asset in assets:
            k3s_sum(text, asset)
    except AnsibleFilterError as error:
        return str(error)
    return ""


def k3s_upgrade_errors(
    version: str, hosts: list[dict[str, Any]], cluster: dict[str, Any], notready: list[str]
) -> list[str]:
    """Every reason against an upgrade of the whole cluster to `version`, a line each; empty when it may begin.

    `hosts`: every host of the inventory that has k3s or is to have it: name, node, server and spare (bool), here
    (whether --limit lets the play touch it), probe (what k3s_node returned, {} when it was not asked), release (what
    is wrong with the release for its architecture, empty for nothing).
    `cluster`: what k3s_drain knows. `notready`: nodes that the operator allows to be NotReady.
    """
    problem = release_problem(version)
    if problem:
        return [f"k3s_version is {version}: {problem[0]}; {problem[1]}"]
    nodes = {node["name"]: node for node in cluster["nodes"]}
    errors = []
    # After a server that did not restart, there is no API to query: only that server itself can be continued with.
    stopped = [
        host["name"]
        for host in hosts
        if host["server"]
        and (host["node"] in notready or (host["probe"].get("binary") or {}).get("version") == version)
    ]
    if cluster["api"] and not stopped:
        errors.append(
            f"the cluster's API does not answer ({cluster['api']}): repair the cluster first. If the server fails "
            "because of its current version and the new one fixes it, allow it with -e '{k3s_upgrade_notready: [NODE]}'"
        )
    running: dict[str, list[str]] = {}
    for host in hosts:
        node = nodes.get(host["node"])
        if host["spare"] and node is None:
            continue
        name, probe = host["name"], host["probe"]
        if probe.get("unreachable"):
            errors.append(f"{name} does not answer over ssh: {' '.join(str(probe.get('msg')).split())}")
        both = [node["version"] if node else None, (probe.get("binary") or {}).get("version")]
        running[name] = [each for each in dict.fromkeys(both) if each]
        if not running[name] and not cluster["api"] and not probe.get("unreachable"):
            errors.append(f"{name} is not in the cluster: run site.yml with its current version first")
    servers = [v for host in hosts if host["server"] for v in running.get(host["name"], [])]
    oldest = min((known.series for v in servers if (known := parse(v))), default=(0, 0))
    for host in hosts:
        for found in running.get(host["name"], []):
            base = oldest if not host["server"] else (0, 0)
            errors += [f"{host['name']} has k3s {found}: {text}" for text in version_errors(version, found, base)]
    behind = [h for h in hosts if any(v != version for v in running.get(h["name"], []))]
    left_out = [host["name"] for host in behind if host["server"] and not host["here"]]
    agents = [host["name"] for host in behind if not host["server"] and host["here"]]
    if left_out and agents:
        errors.append(
            f"--limit leaves out {', '.join(left_out)}, but {', '.join(agents)} would become newer than that server: "
            "upgrade servers first"
        )
    lost = {host["node"] for host in hosts if host["probe"].get("unreachable")}
    for node in cluster["nodes"]:
        if not node["ready"] and not node["mark"] and node["name"] not in [*notready, *lost]:
            errors.append(
                f"Node {node['name']} is NotReady: see `kubectl describe node {node['name']}` and k3s's journal there; "
                "a node that is gone for good is removed first (playbooks/remove-node.yml)"
            )
    rolled = {host["node"] for host in behind if host["here"]}
    errors += [f"Node {b['node']}: {b['text']}" for b in cluster["blockers"] if b["node"] in rolled]
    return errors + list(dict.fromkeys(host["release"] for host in hosts if host["release"]))


def version_errors(wanted: str, found: str, servers: tuple[int, int]) -> list[str]:
    """Why a node with version `found` must not get `wanted`; `servers` is (major, minor) of the oldest server.

    A node that is older than the servers may be upgraded to their version in one step, because it is drained.
    """
    known, new = parse(found), parse(wanted)
    if not known or not new:
        return ["not a release that can be compared with another"]
    if known.make != new.make:
        return [f"k3s_version {wanted} is of another distribution (+{new.make}, not +{known.make})"]
    if new.key < known.key:
        return [
            f"k3s_version {wanted} is older, and a datastore cannot be downgraded: raise k3s_version, or reset the "
            "cluster and restore a backup of that version"
        ]
    have, want = known.series, new.series
    if have[0] != want[0] or (want[1] - have[1] > 1 and servers < want):
        return [f"k3s_version {wanted} skips a minor release: upgrade to v{have[0]}.{have[1] + 1} first"]
    return []


def k3s_config(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The configuration `base` with `given` over it: see keys.combine."""
    return keys.combine(base, plain(given))


def k3s_encrypts(own: dict[str, Any], others: list[dict[str, Any]], wanted: bool) -> bool:
    """Whether this server's Secrets are encrypted in the datastore, from what k3s_node reported of all servers.

    A server with a cluster on its disk stays as it is; one without does as the cluster that it joins; where no server
    has a cluster, one is created, as `wanted`. A server that was not asked reported nothing: {}.
    """
    for node in (own, *others):
        if node.get("encryption") or node.get("cluster_token", "absent") != "absent":
            return bool(node.get("encryption"))
    return wanted


def k3s_config_errors(given: dict[str, Any], role: str, version: str) -> list[str]:
    """What k3s of this version, or its role, would refuse or misread in k3s_server_config or k3s_agent_config."""
    return [str(each) for each in keys.problems(plain(given), role, version)]


def k3s_pod_networks(server_config: dict[str, Any]) -> list[str]:
    """The networks of pods, by k3s_server_config."""
    return [str(each) for each in networks_of_k3s(server_config)["pods"]]


def k3s_version_error(version: str) -> str:
    """Why a version is not installed, with what to write instead; empty for a release."""
    return "; ".join(release_problem(version) or ())


def k3s_servers_error(count: int) -> str:
    """Why a cluster does not have that many servers, with what to do instead; empty when it may."""
    return "; ".join(servers_problem(count) or ())


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Filters by name."""
        functions: list[Callable[..., Any]] = [
            k3s_sum,
            k3s_is_downgrade,
            k3s_kubeconfig,
            k3s_kubeconfig_mark,
            k3s_is_full_token,
            k3s_pending,
            k3s_sum_problem,
            k3s_upgrade_errors,
            k3s_config,
            k3s_encrypts,
            k3s_config_errors,
            k3s_pod_networks,
            k3s_version_error,
            k3s_servers_error,
        ]
        others: dict[str, Callable[..., Any]] = {
            "k3s_token_password": token.password,
            "k3s_api_port": api_port,
            "k3s_decrypted": plain,
            "k3s_removal_errors": removal.errors,
        }
        return {function.__name__: function for function in functions} | others
