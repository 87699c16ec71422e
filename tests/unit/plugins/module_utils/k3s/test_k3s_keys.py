"""Keys of k3s's config.yaml: the list, and what is made of it."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s.keys import (
    ALIASES,
    COMPONENTS,
    RESERVED,
    Key,
    combine,
    keys,
    named_problem,
    problems,
)
from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s.version import parse

from tests.support.paths import ROOT

LAB = ROOT / "lab/k3s/internal/config/keys.txt"


def found(config: dict[str, Any], role: str = "server", version: str = "v1.36.4+k3s1") -> list[str]:
    return [str(each) for each in problems(config, role, version)]


def test_there_are_the_keys_of_k3s() -> None:
    version = parse("v1.36.4+k3s1")
    known = [key for key in keys().values() if key.is_in(version)]
    assert len([key for key in known if key.is_for("server")]) == 125
    assert len([key for key in known if key.is_for("agent")]) == 46
    assert {key.type for key in known} == {"string", "list", "bool", "int", "duration"}
    assert {key.scope for key in known} == {"both", "server", "agent"}
    assert set(ALIASES.values()) | set(RESERVED) <= set(keys())


def test_the_list_is_in_order() -> None:
    assert list(keys()) == sorted(keys())


def test_the_lab_has_the_same_list() -> None:
    """The lab's k3s refuses by its own list what k3s refuses: both must be the same for the lab's version."""
    version = parse(tomllib.loads((ROOT / "lab/lab.toml").read_text())["k3s"]["version"])
    ours = {key.name: (key.type, key.scope, key.marks) for key in keys().values() if key.is_in(version)}
    lines = [line.split() for line in LAB.read_text().splitlines() if line and not line.startswith("#")]
    theirs = {name: (kind, scope, "".join(marks)) for name, kind, scope, *marks in lines}
    assert theirs == ours


def test_the_lab_knows_the_same_components() -> None:
    """The lab's k3s accepts what `k3s_disable` may name; what it deploys can be disabled, but for rights of nodes."""
    line = re.search(r"^var Packaged = .*", LAB.with_name("config.go").read_text(), re.MULTILINE)
    assert line
    assert set(re.findall(r'"([a-z-]+)"', line[0])) == COMPONENTS
    deployed = {path.stem for path in (ROOT / "lab/k3s/internal/deploy/packaged").iterdir()}
    assert deployed - {"rolebindings"} == {"coredns", "traefik", "metrics-server"}
    assert deployed - {"rolebindings"} <= COMPONENTS


@pytest.mark.parametrize(
    ("version", "known"),
    [
        ("v1.34.9+k3s1", False),
        ("v1.35.6+k3s1", False),
        ("v1.35.7+k3s1", True),
        ("v1.36.2+k3s1", False),
        ("v1.36.3+lab1", True),
        ("v1.37.0+k3s1", True),
        ("", True),
    ],
)
def test_a_key_belongs_to_the_releases_that_have_it(version: str, known: bool) -> None:
    assert keys()["helm-controller-arg"].is_in(parse(version)) is known
    assert (found({"helm-controller-arg": ["a=b"]}, version=version) == []) is known


def test_a_key_without_a_beginning_is_in_every_release() -> None:
    assert Key("debug", "bool", "both", "", ()).is_in(parse("v1.20.0+k3s1"))


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_keys_of_the_role_are_refused_with_a_reason_and_a_remedy(name: str) -> None:
    problem, remedy = RESERVED[name]
    assert found({name: "x"})[0] == f"{name}: {problem}; {remedy}"
    assert len(problem) > 5 and len(remedy) > 5


def test_a_short_name_is_its_key() -> None:
    assert found({"t": "secret"})[0].startswith("t: the role writes the token")
    assert found({"l": "/var/log/k3s"}) == []
    assert found({"l": "/a", "log": "/a"}) == ["log: the same key as l; keep one of the two"]


def test_scopes() -> None:
    assert "a server-only key" in found({"tls-san": ["a"]}, "agent")[0]
    assert "an agent-only key" in found({"disable-apiserver-lb": True})[0]
    assert found({"disable-apiserver-lb": True}, "agent") == []


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"tls-sans": ["a"]}, "did you mean tls-san?"),
        ({"node_label": ["a=b"]}, "did you mean node-label?"),
        ({"xyz": 1}, "k3s has no such key"),
        ({"debug": "yes"}, "true or false"),
        ({"lb-server-port": "6444"}, "whole number"),
        ({"lb-server-port": True}, "whole number"),
        ({"etcd-s3-timeout": "5"}, "duration"),
        ({"cluster-domain": ["a"]}, "not text"),
        ({"cluster-domain": None}, "no value"),
        ({"kubelet-arg": [{"max-pods": 40}]}, "`- name=value`"),
        ({"kubelet-arg": ["max-pods: 40"]}, "`- name=value`"),
        ({"kube-apiserver-arg": ["advertise-address=10.0.0.9"]}, "or write the key advertise-address"),
        ({"kube-apiserver-arg": ["audit-log-maxsize=5", "--secure-port=7443"]}, "or write the key https-listen-port"),
        ({"kube-controller-manager-arg+": "cluster-cidr=10.1.0.0/16"}, "or write the key cluster-cidr"),
        ({"node-label": {"a": "b"}}, "not a list"),
        ({"debug+": True}, "only a list can be appended to"),
        ({"write-kubeconfig-mode": 0o600}, 'in quotes, as "0600"'),
        ({"disable": "traefik,serviselb"}, "did you mean servicelb?"),
    ],
)
def test_what_is_wrong_is_named(config: dict[str, Any], words: str) -> None:
    assert len(found(config)) == 1
    assert words in found(config)[0]


@pytest.mark.parametrize(
    "config",
    [
        {"tls-san+": ["edge.example"], "disable": "traefik,servicelb", "disable+": ["coredns"]},
        {"kubelet-arg": ["--max-pods=40", "system-reserved+=memory=1Gi", "seccomp-default"]},
        {"kube-apiserver-arg+": "audit-log-maxsize=5"},
        {"v": 2, "etcd-s3-timeout": "1h30m", "debug": False, "write-kubeconfig-mode": "0600"},
    ],
)
def test_what_is_right_passes(config: dict[str, Any]) -> None:
    assert found(config) == []


def test_configurations_combine_as_two_files_of_k3s_do() -> None:
    base = {"tls-san": ["a"], "disable": ["x"], "debug": False, "node-ip": "10.0.0.1"}
    given = {"tls-san+": ["b"], "disable": ["y"], "debug": True, "i": "10.0.0.2", "node-label+": ["c=d"]}
    assert combine(base, given) == {
        "tls-san": ["a", "b"], "disable": ["y"], "debug": True, "node-ip": "10.0.0.2", "node-label": ["c=d"],
    }  # fmt: skip
    assert base["tls-san"] == ["a"]


def test_flags_of_components_combine_one_by_one() -> None:
    base = {"kubelet-arg": ["pod-max-pids=1024", "eviction-hard=memory.available<250Mi", "seccomp-default=true"]}
    given = {"kubelet-arg": ["--eviction-hard=memory.available<1Gi", "pod-max-pids+=7", "max-pods=40"]}
    assert combine(base, given)["kubelet-arg"] == [
        "pod-max-pids=1024",
        "seccomp-default=true",
        "--eviction-hard=memory.available<1Gi",
        "pod-max-pids+=7",
        "max-pods=40",
    ]
    assert combine(base, {"kubelet-arg+": "seccomp-default=false"})["kubelet-arg"][-1] == "seccomp-default=false"
    assert "seccomp-default=true" not in combine(base, {"kubelet-arg+": "seccomp-default=false"})["kubelet-arg"]


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"bind-address": "127.0.0.1"}, "other nodes and this machine would not reach the API; delete it, or write an"),
        ({"cluster-domain": "my cluster"}, "not a domain; write such as cluster.local"),
        ({"egress-selector-mode": "all"}, "not a mode of k3s; write disabled, agent, pod or cluster"),
        ({"flannel-backend": "none"}, "not a backend with which pods of all boards reach each other here; write vxlan"),
        ({"service-node-port-range": "80-29999"}, "not a range with the ports of Jupyter, 30000 and 30001; write"),
        ({"service-node-port-range": "30001-32767"}, "not a range with the ports of Jupyter, 30000 and 30001; write"),
        ({"https-listen-port": 0}, "not a port; write a number from 1 to 65535"),
        ({"https-listen-port": 70000}, "not a port; write a number from 1 to 65535"),
        ({"https-listen-port": 443}, "a port that something else has on the boards; write such as 6443"),
        ({"https-listen-port": 10249}, "a port that something else has on the boards; write such as 6443"),
        # The API server would have 2049, which is that of NFS.
        ({"https-listen-port": 2048}, "a port that something else has on the boards; write such as 6443"),
        ({"https-listen-port": 6444}, "a port that something else has on the boards; write such as 6443"),
        ({"lb-server-port": 30000}, "a port that something else has on the boards; write such as 6443"),
        ({"advertise-address": "pi-01"}, "not an IPv4 address"),
        ({"cluster-dns": "dns.home"}, "not an address"),
        ({"cluster-dns+": "10.43.0.20"}, "only a list can be appended to; write cluster-dns without the +"),
        ({"cluster-cidr+": "10.52.0.0/16"}, "only a list can be appended to; write cluster-cidr without the +"),
        ({"node-external-ip": ["192.168.1.300"]}, "not an IPv4 address"),
        ({"node-label": ["disk=ssd", "a b=c"]}, "not a label that kubelet takes"),
        ({"node-label": ["node-role.kubernetes.io/worker=true"]}, "not a label that kubelet takes"),
        ({"node-label": ["kubernetes.io/role=worker"]}, "not a label that kubelet takes"),
        ({"node-label": ["disk"]}, "not a label that kubelet takes"),
        ({"node-taint": ["dedicated=training"]}, "not a taint"),
        ({"tls-san": ["https://k3s.home"]}, "neither a name nor an address"),
        ({"system-default-registry": "https://registry.home"}, "not a registry"),
        ({"snapshotter": "zfs"}, "not one that works on the boards' file system"),
        ({"etcd-snapshot-schedule-cron": "every day"}, "not a time of cron, which has five fields"),
        ({"write-kubeconfig-mode": "rw"}, "not a mode"),
    ],
)
def test_values_that_do_not_work_here_are_reported(config: dict[str, Any], error: str) -> None:
    (text,) = found(config)
    assert text.startswith(f"{next(iter(config))}: {error}")


def test_values_of_a_form_that_works_are_no_error() -> None:
    config = {"bind-address": "192.168.1.11", "cluster-domain": "cluster.local", "flannel-backend": "vxlan"}
    assert found({**config, "service-node-port-range": "80-32767", "egress-selector-mode": "pod"}) == []
    labels = ["disk=ssd", "node.kubernetes.io/rack=2", "topology.kubernetes.io/zone=a", "example.org/x="]
    assert (
        found({"node-label": labels, "node-taint": "dedicated=x:NoSchedule,old:NoExecute", "tls-san": "a,192.168.1.9"})
        == []
    )
    assert found({"https-listen-port": 7443, "lb-server-port": 6444, "cluster-dns": "10.43.0.20,fd00:43::a"}) == []
    assert (
        found({"etcd-snapshot-schedule-cron": "*/30 0-6 * * mon", "system-default-registry": "registry.home:5000"})
        == []
    )
    assert found({"node-external-ip": "203.0.113.7", "snapshotter": "native", "write-kubeconfig-mode": "644"}) == []


@pytest.mark.parametrize(
    "key",
    [
        "docker", "container-runtime-endpoint", "disable-scheduler", "disable-kube-proxy", "apiserver-port",
        "supervisor-port", "datastore-endpoint", "write-kubeconfig", "node-ip", "private-registry",
    ],
)  # fmt: skip
def test_keys_that_a_later_stage_could_not_work_with_are_reserved(key: str) -> None:
    assert named_problem(key, "server") in RESERVED.values()
