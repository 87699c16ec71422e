"""Keys of k3s's config.yaml: which there are, of what type and for whom, and which of them are not the inventory's.

keys.txt beside this file is the list. Preflight checks an inventory by it, and the k3s role once more what it renders.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..preflight.suggest import did_you_mean
from .version import Version, parse

#: k3s's short names, which config.yaml may have too.
ALIASES = {
    "c": "config", "d": "data-dir", "i": "node-ip", "l": "log", "o": "write-kubeconfig", "s": "server", "t": "token",
}  # fmt: skip
#: The variable that a role's keys are written in.
VARIABLES = {"server": "k3s_server_config", "agent": "k3s_agent_config"}
COMPONENTS = frozenset(("coredns", "servicelb", "traefik", "local-storage", "metrics-server", "runtimes", "ccm"))

_JOINS = "the role sets it from the group k3s_servers and k3s_api_address", "delete it"
_RESETS = "every start would reset the cluster", "delete it; playbooks/restore.yml restores a backup"
_TOKEN = (
    "the role writes the token to the board, from k3s_token_file",
    "delete it; a token of your own is written into that file (mode 0600) before the first run",
)
_AGENT_TOKEN = (
    "a running server that is given another one does not start a second time",
    "delete it; the role gives a new cluster one (k3s_agent_token_file), and playbooks/rotate.yml a running one",
)
_CONTAINERD = "the image is imported into k3s's own containerd", "delete it"
_PODS = "pods of this project would not run, or reach nothing", "delete it"
_PORT = "the role reaches k3s at https-listen-port alone", "delete it, or write https-listen-port"
_WHOLE = "the role waits until each server is a Node and its own API answers", "delete it"
#: Keys that an inventory must not set: why, and what to do instead.
RESERVED: dict[str, tuple[str, str]] = {
    "token": _TOKEN,
    "token-file": _TOKEN,
    "agent-token": _AGENT_TOKEN,
    "agent-token-file": _AGENT_TOKEN,
    "server": _JOINS,
    "cluster-init": _JOINS,
    "cluster-reset": _RESETS,
    "cluster-reset-restore-path": _RESETS,
    "config": ("k3s would not read the configuration that the role writes", "delete it"),
    "data-dir": (
        "a running server would begin a second, empty cluster there",
        "delete it; set k3s_data_dir before the first run",
    ),
    "node-name": (
        "a running node would join a second time under that name, and its Node of the old name would stay",
        "delete it; set k3s_node_name before the first run",
    ),
    "with-node-id": ("the Node would have a name that labels, upgrades and removals do not find", "delete it"),
    "secrets-encryption": (
        "on a running cluster each server would make a key of its own, and Secrets would be lost",
        "delete it; the role sets it where it creates a cluster (k3s_secrets_encryption)",
    ),
    "rootless": ("the role's unit runs k3s as root", "delete it"),
    "disable-agent": _WHOLE,
    "disable-apiserver": _WHOLE,
    "disable-controller-manager": _WHOLE,
    "disable-etcd": _WHOLE,
    "private-registry": (
        "k3s would not read the file that the role writes from k3s_registries",
        "delete it, and write k3s_registries",
    ),
    "docker": _CONTAINERD,
    "container-runtime-endpoint": _CONTAINERD,
    "disable-scheduler": _PODS,
    "disable-kube-proxy": _PODS,
    "apiserver-port": _PORT,
    "supervisor-port": _PORT,
    "datastore-endpoint": ("backup and restore are of k3s's own datastore", "delete it"),
    "write-kubeconfig": ("the role fetches it from /etc/rancher/k3s/k3s.yaml", "delete it"),
    "node-ip": ("all nodes with this configuration would have the same address", "set k3s_node_ip of each board"),
    "kube-controller-arg": ("deprecated", "write it below kube-controller-manager-arg"),
    "kube-cloud-controller-arg": ("deprecated", "write it below kube-cloud-controller-manager-arg"),
}

_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#: An IPv4 address.
IPV4 = rf"{_OCTET}(\.{_OCTET}){{3}}"
_IPV6 = r"[0-9a-fA-F]{0,4}:[0-9a-fA-F:]+"
#: The name of a label or taint, perhaps with a prefix, and its value.
LABEL = r"([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
LABEL_VALUE = r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?"
#: kubelet does not start with other labels of these two domains.
_KUBELETS = r"(?!((?!(.+\.)?(node|kubelet|topology)\.)[a-z0-9.-]+\.)?(kubernetes|k8s)\.io/)"
_ADDRESS = "not an IPv4 address", "write such as 192.168.1.11"
#: Of keys whose text, or each text of its list, must have a form: the form, what is wrong otherwise, what to write.
FORMS = {
    "advertise-address": (IPV4, *_ADDRESS),
    "bind-address": (
        r"(?!127\.|localhost|::1).+",
        "other nodes and this machine would not reach the API",
        "delete it, or write an address of the server's in the boards' network",
    ),
    "cluster-dns": (rf"{IPV4}|{_IPV6}", "not an address", "write such as 10.43.0.10"),
    "cluster-domain": (r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", "not a domain", "write such as cluster.local"),
    "egress-selector-mode": (
        r"disabled|agent|pod|cluster",
        "not a mode of k3s",
        "write disabled, agent, pod or cluster",
    ),
    "etcd-snapshot-schedule-cron": (
        r"@(yearly|annually|monthly|weekly|daily|midnight|hourly|every [0-9.hms]+)|([\w*/,?-]+ ){4}[\w*/,?-]+",
        "not a time of cron, which has five fields",
        'write such as "0 */12 * * *"',
    ),
    "flannel-backend": (
        r"vxlan|host-gw|wireguard-native",
        "not a backend with which pods of all boards reach each other here",
        "write vxlan, host-gw or wireguard-native",
    ),
    "node-external-ip": (rf"{IPV4}|{_IPV6}", *_ADDRESS),
    "node-label": (
        rf"{_KUBELETS}{LABEL}={LABEL_VALUE}",
        "not a label that kubelet takes",
        "write such as disk=ssd; labels of kubernetes.io are set through the API, by node_labels_labels",
    ),
    "node-taint": (
        rf"{LABEL}(={LABEL_VALUE})?:(NoSchedule|PreferNoSchedule|NoExecute)",
        "not a taint",
        "write such as dedicated=training:NoSchedule",
    ),
    "service-node-port-range": (
        r"([1-9]\d{0,3}|[12]\d{4}|30000)-(3000[1-9]|300[1-9]\d|30[1-9]\d\d|3[1-9]\d{3}|[4-6]\d{4})",
        "not a range with the ports of Jupyter, 30000 and 30001",
        "write such as 30000-32767",
    ),
    "snapshotter": (r"overlayfs|native", "not one that works on the boards' file system", "delete it"),
    "system-default-registry": (
        r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._/-]+)?",
        "not a registry",
        "write it without https://, such as registry.home:5000",
    ),
    "tls-san": (
        r"[A-Za-z0-9.:*-]+",
        "neither a name nor an address",
        "write it without https:// and path, such as k3s.home",
    ),
    "write-kubeconfig-mode": (r"0?[0-7]{3}", "not a mode", 'write it in quotes, as "0600"'),
}
#: Ports that k3s cannot have: of ssh, NFS, the Ingress, etcd, registries, containerd and Kubernetes; and 65536.
_TAKEN = frozenset((22, 80, 111, 443, 2049, 2379, 2380, 2381, 2382, 5001, 10010, 65536, *range(10247, 10261)))
#: Flags of components that k3s sets by keys of its own: other components, roles and preflight read these.
_FLAGS_OF_KEYS = {
    "kube-apiserver-arg": {
        "advertise-address": "advertise-address",
        "bind-address": "bind-address",
        "secure-port": "https-listen-port",
        "service-cluster-ip-range": "service-cidr",
        "service-node-port-range": "service-node-port-range",
    },
    "kube-controller-manager-arg": {"cluster-cidr": "cluster-cidr", "service-cluster-ip-range": "service-cidr"},
    "kube-proxy-arg": {"cluster-cidr": "cluster-cidr"},
    "kubelet-arg": {"cluster-dns": "cluster-dns", "cluster-domain": "cluster-domain"},
}
#: Keys that a cluster has one value of, though k3s takes a list: roles and preflight read them under this name alone.
_WITHOUT_PLUS = ("cluster-cidr", "cluster-dns", "service-cidr")

_DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+|0")
_FLAG = re.compile(r"(--)?[a-zA-Z][a-zA-Z0-9._-]*[+-]?(=.*)?", re.DOTALL)


@dataclass(frozen=True)
class Key:
    """A key of k3s; `since` has the first patch of each minor that has it, empty when all have."""

    name: str
    type: str
    scope: str
    marks: str
    since: tuple[tuple[int, int, int], ...]

    def is_for(self, role: str) -> bool:
        """Whether a `role` (server or agent) has it."""
        return self.scope in ("both", role)

    def is_in(self, version: Version | None) -> bool:
        """Whether a release has it; all do that are not known."""
        if version is None or not self.since:
            return True
        for each in self.since:
            if version.series == each[:2]:
                return version.patch >= each[2]
        return version.series > self.since[-1][:2]


@dataclass(frozen=True)
class Problem:
    """What is wrong with one key of a configuration: as it is written, with its value (... for none to be shown)."""

    written: str
    value: Any
    problem: str
    remedy: str

    def __str__(self) -> str:
        """One line, without the value, which may be a secret."""
        return f"{self.written}: {self.problem}; {self.remedy}"


@functools.cache
def keys() -> dict[str, Key]:
    """All keys by name, as keys.txt has them."""
    found = {}
    for line in Path(__file__).with_name("keys.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            key = _key(line)
            found[key.name] = key
    return found


def _key(line: str) -> Key:
    name, kind, scope, *rest = line.split()
    marks = "".join(each for each in rest if "=" not in each)
    since = []
    for each in rest:
        for text in each.removeprefix("since=").split(",") if each.startswith("since=") else []:
            major, minor, patch = text.removeprefix("v").split(".")
            since.append((int(major), int(minor), int(patch)))
    return Key(name, kind, scope, marks, tuple(sorted(since)))


def long_name(written: str) -> str:
    """The key's own name: without the `+` that appends, and of one letter the name that it stands for."""
    plain = written.removesuffix("+")
    return ALIASES.get(plain, plain)


def problems(config: Mapping[Any, Any], role: str, version: str = "") -> Iterator[Problem]:
    """Everything that k3s, or this role, would refuse or misread in a configuration of a `role` (server or agent)."""
    seen: dict[str, str] = {}
    for written, value in config.items():
        found = named_problem(str(written), role, version) or value_problem(str(written), value)
        if found:
            yield Problem(str(written), value, *found)
        name = long_name(str(written))
        if not str(written).endswith("+") and seen.setdefault(name, str(written)) != str(written):
            yield Problem(str(written), value, f"the same key as {seen[name]}", "keep one of the two")
        if name == "disable":
            yield from _components(str(written), value)


def named_problem(written: str, role: str, version: str = "") -> tuple[str, str] | None:
    """What is wrong with a key, whatever its value: (problem, remedy), None for nothing."""
    name = long_name(written)
    key = keys().get(name)
    if key is None:
        otherwise = f"delete it, or see `k3s {role} --help`"
        return "k3s has no such key", did_you_mean(name.replace("_", "-"), keys(), otherwise)
    if not key.is_for(role):
        if role == "agent":
            return "a server-only key: an agent does not start with it", "move it to k3s_server_config, or delete it"
        return "an agent-only key: a server ignores it", "move it to k3s_agent_config, or delete it"
    if name in RESERVED:
        return RESERVED[name]
    if not key.is_in(parse(version)):
        first = ", ".join("v" + ".".join(map(str, each)) for each in key.since)
        return f"k3s {version} has no such key (it came with {first})", "delete it, or raise k3s_version"
    return None


def value_problem(written: str, value: Any) -> tuple[str, str] | None:
    """What is wrong with the type of a known key's value: (problem, remedy), None for nothing."""
    name = long_name(written)
    kind = keys()[name].type
    if value is None:
        return "no value, which k3s reads as an empty one", "write a value, or delete the line"
    if name == "write-kubeconfig-mode" and not isinstance(value, str):
        return "YAML reads an unquoted 0600 as the number 384", 'write it in quotes, as "0600"'
    if written.endswith("+") and (kind != "list" or name in _WITHOUT_PLUS):
        return "only a list can be appended to", f"write {name} without the +"
    if kind == "bool":
        return None if isinstance(value, bool) else ("not true or false", "write true or false, without quotes")
    if kind == "int":
        if not isinstance(value, int) or isinstance(value, bool):
            return "not a whole number", "write the number without quotes"
        return _port_problem(name, value) if name.endswith("-port") else None
    if kind == "duration":
        is_duration = isinstance(value, str) and _DURATION.fullmatch(value)
        return None if is_duration else ("not a duration", "write a number with its unit, such as 10m or 1h30m")
    if kind == "string" and not _is_text(value):
        return "not text", "write one value, in quotes where it looks like another type"
    if kind == "list" and (found := _list_problem(name, value)):
        return found
    if name in FORMS and not all(re.fullmatch(FORMS[name][0], each) for each in _texts(kind, value)):
        return FORMS[name][1:]
    return None


def _texts(kind: str, value: Any) -> list[str]:
    """The texts of a value: k3s takes one with commas for a list, too."""
    if kind != "list":
        return [str(value)]
    return [part.strip() for each in _items(value) for part in str(each).split(",")]


def _port_problem(name: str, value: int) -> tuple[str, str] | None:
    if not 0 < value < 65536:
        return "not a port", "write a number from 1 to 65535, such as 6443"
    # k3s's own API server listens at the next port, and agents at lb-server-port.
    used = (value, value + 1) if name == "https-listen-port" else (value,)
    if any(each in _TAKEN or 30000 <= each <= 32767 for each in used) or used[:-1] == (6444,):
        return "a port that something else has on the boards", "write such as 6443 or 7443"
    return None


def _list_problem(name: str, value: Any) -> tuple[str, str] | None:
    items = value if isinstance(value, list) else [value]
    if name.endswith("-arg") and not all(isinstance(each, str) and _FLAG.fullmatch(each) for each in items):
        return "not a list of flags", "write each on a line of its own, as `- name=value`"
    for flag in map(_flag, items):
        if key := _FLAGS_OF_KEYS.get(name, {}).get(flag):
            return f"k3s sets the flag {flag} by a key of its own", f"delete it, or write the key {key}"
    if not all(_is_text(each) for each in items):
        return "not a list of texts", "write each on a line of its own, as `- item`"
    return None


def _is_text(value: Any) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def _components(written: str, value: Any) -> Iterator[Problem]:
    for name in value if isinstance(value, list) else str(value).split(","):
        if name not in COMPONENTS:
            remedy = did_you_mean(str(name), COMPONENTS, f"use {', '.join(sorted(COMPONENTS))}")
            yield Problem(written, name, "k3s has no such component and ignores it silently", remedy)


def combine(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with another one over it, as k3s reads two files; keys in their long form, without `+`.

    A key of `given` replaces that of `base`, `key+` appends to it. Flags for a component (`kubelet-arg` and the like)
    are combined one by one: a flag of `given` replaces the one of its name in `base`; `name+=` and `name-=`, which
    k3s adds to its own default, are kept beside it.
    """
    result = dict(base)
    for written, value in given.items():
        name = long_name(written)
        if name.endswith("-arg") and name in result:
            new = _items(value)
            replaced = {_flag(each) for each in new if not _adds(each)}
            result[name] = [each for each in _items(result[name]) if _flag(each) not in replaced] + new
        elif written.endswith("+") and name in result:
            result[name] = _items(result[name]) + _items(value)
        else:
            result[name] = value
    return result


def texts(config: Mapping[str, Any], name: str) -> list[str]:
    """Each text of a key that k3s takes as a list, or as one text with commas; with those that `name+` appends."""
    written = (name,) if name in _WITHOUT_PLUS else (name, f"{name}+")
    values = [each for key in written for each in _items(config.get(key, []))]
    return [text.strip() for each in values for text in str(each).split(",")]


def _items(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def _flag(argument: Any) -> str:
    return str(argument).removeprefix("--").partition("=")[0].rstrip("+-")


def _adds(argument: Any) -> bool:
    return str(argument).partition("=")[0].endswith(("+", "-"))
