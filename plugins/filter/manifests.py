"""Jinja filters of the manifests role: plan for its objects, state of their rollout."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import ipaddress
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.edge_ai.cluster.plugins.module_utils.cluster_check import HOLDERS
from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s.keys import texts

argon2: Any = importlib.import_module("argon2") if importlib.util.find_spec("argon2") else None

# Minimum length of a password that a fast hash can protect: the generated one has 24.
UNGUESSABLE = 20

Object = dict[str, Any]

# Running pods read these until their replacements are ready.
CONFIGURATION = ("ConfigMap", "Secret")


def manifests_ids(objects: list[Object]) -> list[list[str]]:
    """What identifies each object, sorted: apiVersion, kind, namespace (empty for none), name."""
    return sorted(
        [o["apiVersion"], o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]] for o in objects
    )


def manifests_plan(objects: list[Object], recorded: list[Object]) -> dict[str, Any]:
    """What to delete and what to record, from the rendered objects and the record (a list of 0 or 1 ConfigMap).

    Returns lists of ids: `union` to record before applying (so that an interrupted run loses nothing), `final` to
    record at the end, `kept` which are no longer in k8s/ but hold data; objects to delete: `stale`, and
    `stale_configuration` at the very end; and `checkable`, the objects that the API can compare with --check: it does
    not have the namespaces and kinds of new ones yet, and a node port may be taken until another Service is gone.
    """
    new = manifests_ids(objects)
    old = json.loads(recorded[0]["data"]["objects"]) if recorded else []
    gone = [i for i in old if i not in new]
    kept = [i for i in gone if i[1] in HOLDERS]
    delete = [i for i in gone if i not in kept]
    refused = ("Service",) if any(i[1] == "Service" for i in delete) else ()
    return {
        "union": sorted(new + gone),
        "final": sorted(new + kept),
        "kept": kept,
        "checkable": [o for o in objects if manifests_ids([o])[0] in old and o["kind"] not in refused],
        "stale": [as_object(i) for i in delete if i[1] not in CONFIGURATION],
        "stale_configuration": [as_object(i) for i in delete if i[1] in CONFIGURATION],
    }


def manifests_record(ids: list[list[str]], namespace: str, name: str, manager: str) -> Object:
    """The ConfigMap in which the role records what it applied."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/managed-by": manager}},
        "data": {"objects": json.dumps(ids)},
    }


def as_object(identity: list[str]) -> Object:
    """The minimal definition of an object, for deleting it."""
    version, kind, namespace, name = identity
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
    }


def manifests_unusable(objects: list[Object]) -> list[Object]:
    """Those of `objects` (of the API) that cannot be used until they are made anew, claims before volumes.

    One that is being deleted stays for as long as something uses it, whatever is applied to it, and then is gone. A
    claim is lost with its volume.
    """
    volumes = [o for o in objects if o["kind"] == "PersistentVolume" and "deletionTimestamp" in o["metadata"]]
    names = {volume["metadata"]["name"] for volume in volumes}
    claims = [
        o
        for o in objects
        if o["kind"] == "PersistentVolumeClaim"
        and (
            "deletionTimestamp" in o["metadata"]
            or (o.get("status") or {}).get("phase") == "Lost"
            or o["spec"].get("volumeName") in names
        )
    ]
    others = [
        o
        for o in objects
        if "deletionTimestamp" in o["metadata"] and o["kind"] not in ("PersistentVolumeClaim", "PersistentVolume")
    ]
    return [as_object(identity) for found in (others, claims, volumes) for identity in manifests_ids(found)]


def manifests_terminating(namespaces: list[Object]) -> str:
    """What holds up the deletion of a namespace (a list of 0 or 1 objects of the API); empty when it is not deleted."""
    for each in namespaces:
        if "deletionTimestamp" in each["metadata"]:
            name = each["metadata"]["name"]
            reasons = [
                shorten(condition.get("message") or condition["type"])
                for condition in (each.get("status") or {}).get("conditions") or []
                if condition["status"] == "True"
            ]
            return (
                f"The namespace {name} was deleted, and does not end: {' '.join(reasons) or 'no reason is given'}. "
                "Nothing can be made in it until it is gone. Remove what holds it (an object with finalizers: kubectl "
                f"edit; an API that does not answer: kubectl get apiservices), then run this again"
            )
    return ""


def manifests_namespace_ends(result: dict[str, Any]) -> bool:
    """Whether a result of kubernetes.core.k8s, of several objects, says that their namespace is being deleted."""
    if "NamespaceTerminating" in result.get("msg", ""):
        return True
    applied = [each["result"] for each in result.get("result", {}).get("results", [])]
    return any(o.get("kind") == "Namespace" and "deletionTimestamp" in o["metadata"] for o in applied)


def manifests_released(objects: list[Object]) -> list[Object]:
    """Merge patches for volumes among `objects` (of the API) that are still bound to a claim that is gone."""
    claims = {
        (o["metadata"]["namespace"], o["metadata"]["name"]): o["metadata"]["uid"]
        for o in objects
        if o["kind"] == "PersistentVolumeClaim"
    }
    patches = []
    for volume in objects:
        if volume["kind"] != "PersistentVolume":
            continue
        reference = volume["spec"].get("claimRef") or {}
        present = claims.get((reference.get("namespace"), reference.get("name")))
        if present and reference.get("uid", present) != present:
            (patch,) = map(as_object, manifests_ids([volume]))
            # Without a uid it is reserved for the claim of that name, whichever it is.
            patches.append(patch | {"spec": {"claimRef": {"uid": None, "resourceVersion": None}}})
    return patches


def manifests_unready(deployments: list[Object]) -> list[str]:
    """Names of Deployments (objects of the API) whose rollout is not complete; other kinds are skipped."""
    result = []
    for deployment in deployments:
        if deployment.get("kind") != "Deployment":
            continue
        status, wanted = deployment.get("status") or {}, deployment["spec"].get("replicas", 1)
        complete = (
            status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
            and status.get("updatedReplicas", 0) == wanted
            and status.get("availableReplicas", 0) == wanted
            and status.get("replicas", 0) == wanted
        )
        if not complete:
            result.append(deployment["metadata"]["name"])
    return sorted(result)


def manifests_reasons(pods: list[Object], events: list[Object]) -> list[str]:
    """Why pods are not ready, one line a reason, from their own status and their latest warnings."""
    result = []
    for pod in sorted(pods, key=lambda p: p["metadata"]["name"]):
        name, status = pod["metadata"]["name"], pod.get("status") or {}
        conditions = {c["type"]: c for c in status.get("conditions", [])}
        if conditions.get("Ready", {}).get("status") == "True" or status.get("phase") == "Succeeded":
            continue
        where = pod["spec"].get("nodeName", "no node")
        lines = []
        scheduled = conditions.get("PodScheduled", {})
        if scheduled.get("status") == "False":
            lines.append(f"{scheduled.get('reason')}: {scheduled.get('message')}")
        for container in status.get("initContainerStatuses", []) + status.get("containerStatuses", []):
            for moment in ("state", "lastState"):
                for state in ("waiting", "terminated"):
                    if found := container.get(moment, {}).get(state):
                        code = f" (exit code {found['exitCode']})" if "exitCode" in found else ""
                        lines.append(f"{found.get('reason', state)}{code}: {found.get('message') or 'no message'}")
        mine = [e for e in events if e.get("involvedObject", {}).get("name") == name and e.get("type") == "Warning"]
        mine.sort(key=lambda e: e.get("lastTimestamp") or e.get("eventTime") or "")
        lines += [f"{e.get('reason')}: {e.get('message')}" for e in mine[-3:]]
        # An event often repeats the status message, with another reason.
        unique = {line.partition(": ")[2]: line for line in (shorten(line) for line in reversed(lines))}
        result += [f"{name} on {where}: {line}" for line in reversed(unique.values())]
        if not lines:
            result.append(f"{name} on {where}: {status.get('phase', 'Unknown')}")
    return result


def shorten(text: str) -> str:
    """`text` on one line; of a long one the beginning, with the reason, and the end, with the errors."""
    line = " ".join(text.split())
    return line if len(line) <= 400 else f"{line[:60]} ... {line[-340:]}"


def manifests_hash_matches(password: str, stored: str) -> bool:
    """Whether `stored` is a hash, in one of Jupyter's forms, of `password`."""
    kind, _, rest = stored.strip().partition(":")
    if kind == "argon2" and argon2:
        try:
            return argon2.PasswordHasher().verify(rest, password)
        except (argon2.exceptions.InvalidHashError, argon2.exceptions.VerificationError):
            return False
    salt, _, digest = rest.partition(":")
    return kind == "sha512" and secrets.compare_digest(salted(password, salt), digest)


def manifests_hash(password: str) -> str:
    """A hash of `password` in the form of jupyter_server.auth.passwd.

    By argon2 where the control node has argon2-cffi. Otherwise by salted SHA-512, which Jupyter supports too: it is
    fast to brute-force, so only for long passwords such as the generated one. Raises for a shorter one, and in any case
    for an empty one, which is no password.
    """
    if not password:
        raise AnsibleFilterError("the password is empty: delete its file, and a new one is generated")
    if argon2:
        # 10 MiB and 10 passes: Jupyter's own parameters, which a board verifies in well under a second.
        return "argon2:" + argon2.PasswordHasher(memory_cost=10240, time_cost=10, parallelism=8).hash(password)
    if len(password) < UNGUESSABLE:
        raise AnsibleFilterError(
            f"Jupyter's password has less than {UNGUESSABLE} characters: install argon2-cffi into the control node's "
            "Python environment, or write a longer one into manifests_jupyter_password_file"
        )
    salt = secrets.token_hex(8)
    return f"sha512:{salt}:{salted(password, salt)}"


def salted(password: str, salt: str) -> str:
    """SHA-512 of password and salt in hex, as Jupyter computes it."""
    return hashlib.sha512(password.encode() + salt.encode()).hexdigest()


def manifests_networks(boards: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The IPv4 networks of boards and their gateways; addresses that the inventory has as a name are left out."""
    found = set()
    for board in boards:
        own = hostvars[board]
        for address in (own.get("ansible_host") or board, own.get("k3s_node_ip"), own.get("flash_gateway")):
            with contextlib.suppress(ValueError):
                found.add(ipaddress.IPv4Network(f"{address}/{own.get('flash_prefix', 24)}", strict=False))
    return [str(network) for network in sorted(found)]


def manifests_api_servers(servers: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]]) -> list[Object]:
    """Servers as peers of a NetworkPolicy, by every IPv4 address that the API's Service may lead to.

    k3s takes advertise-address, or else node-external-ip, or else node-ip. Empty where that is not known of each
    server: one has a name in the inventory, or a VPN gives it an address.
    """
    found: set[ipaddress.IPv4Address] = set()
    for server in servers:
        own = hostvars[server]
        config = own.get("k3s_server_config") or {}
        written = [own.get("ansible_host") or server, own.get("k3s_node_ip"), config.get("advertise-address")]
        addresses = set()
        for address in (*written, *texts(config, "node-external-ip")):
            with contextlib.suppress(ValueError):
                addresses.add(ipaddress.IPv4Address(str(address)))
        if not addresses or {"vpn-auth", "vpn-auth-file"} & set(config):
            return []
        found |= addresses
    return [{"ipBlock": {"cidr": f"{address}/32"}} for address in sorted(found)]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Filters by name."""
        functions: list[Callable[..., Any]] = [
            manifests_ids,
            manifests_plan,
            manifests_record,
            manifests_unusable,
            manifests_released,
            manifests_namespace_ends,
            manifests_terminating,
            manifests_unready,
            manifests_reasons,
            manifests_networks,
            manifests_api_servers,
            manifests_hash_matches,
            manifests_hash,
        ]
        return {function.__name__: function for function in functions}
