"""Jinja filters of the k3s role: release digests, versions, tokens, kubeconfig. Pure functions, see tests/unit/k3s."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import yaml
from ansible.errors import AnsibleFilterError

SUM_LINE = re.compile(r"([0-9a-f]{64}) [ *](\S+)")
VERSION = re.compile(r"v(\d+)\.(\d+)\.(\d+)(?:-(?:rc|alpha|beta)\.?(\d+))?\+([a-z0-9]*[a-z])(\d+)")
TOKEN = re.compile(r"K10([0-9a-f]{64})::([^:]+):(.+)")


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
            raise AnsibleFilterError(f"not a line of a sha256sum file: {line!r}")
        # Release files name the asset alone; some mirrors put a path before it.
        name = found.group(2).rsplit("/", 1)[-1]
        if sums.setdefault(name, found.group(1)) != found.group(1):
            raise AnsibleFilterError(f"the sum file holds two different digests of {name}")
    if asset not in sums:
        raise AnsibleFilterError(f"the sum file has no line for {asset}; it has: {', '.join(sorted(sums)) or 'none'}")
    return sums[asset]


def k3s_version_key(version: str) -> list[int]:
    """A version such as `v1.36.4+k3s1` as a list that sorts; a pre-release sorts before its release."""
    found = VERSION.fullmatch(version)
    if not found:
        raise AnsibleFilterError(f"not a k3s version: {version!r}; write it as in v1.36.4+k3s1")
    major, minor, patch, pre, _, build = found.groups()
    return [int(major), int(minor), int(patch), int(pre) if pre else 1 << 30, int(build)]


def k3s_is_downgrade(wanted: str, installed: str | None) -> bool:
    """Whether `wanted` is older than what is `installed`; never when nothing (or nothing known) is."""
    if not installed or not VERSION.fullmatch(installed):
        return False
    return k3s_version_key(wanted) < k3s_version_key(installed)


def k3s_token_password(token: str) -> str:
    """The password in a token, which is the short form a first server is given."""
    found = TOKEN.fullmatch(token.strip())
    return found.group(3) if found else token.strip()


def k3s_kubeconfig(text: str, server: str, name: str) -> str:
    """A server's k3s.yaml for use elsewhere: other address, `name` for context, cluster and user instead of `default`.

    Its first line tells what it was made from (`k3s_kubeconfig_mark`): the next run sees whether it still fits.
    """
    config: dict[str, Any] = yaml.safe_load(text)
    try:
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    except (KeyError, IndexError, TypeError) as error:
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
    return f"# Fetched by the k3s role: {name} at {server}, from k3s.yaml of sha256 {source_sha256}"


def k3s_pending(node: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """What of `wanted` this node lacks, by name, empty when the role has nothing to do on it.

    `node` is what the k3s_node module reported. `wanted` has binary and archive (SHA-256; archive may be empty),
    files ([{dest, sha256, mode}]) and version.
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
    if node["service"]["active"] != "active" or not node["service"]["enabled"]:
        result.append("start")
    elif not node["api"] or not node["node"]["ready"] or node["node"]["version"] != wanted["version"]:
        result.append("ready")
    return result


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Filters by name."""
        functions: list[Callable[..., Any]] = [
            k3s_sum,
            k3s_version_key,
            k3s_is_downgrade,
            k3s_token_password,
            k3s_kubeconfig,
            k3s_kubeconfig_mark,
            k3s_pending,
        ]
        return {function.__name__: function for function in functions}
