"""k3s: its version, where its release is, and the keys of its config.yaml.

A key that k3s does not know is dropped by a server with a line in its log and is fatal for an agent; a component
name below `disable` is not checked at all (k3s: pkg/configfilearg/defaultparser.go, pkg/cli/cmds/server.go).
"""

from __future__ import annotations

import re
from typing import Any

from ..k3s.version import parse
from .model import Host, Inventory, Report, Setting, words
from .suggest import did_you_mean, typo_of

#: Builders of the supported releases.
_MAKES = ("k3s", "lab")
_LIKE_TAG = re.compile(r"^v?(\d+)\.(\d+)\.(\d+)(?:[+-](k3s|lab)(\d+))?$")
DEFAULT_MINORS = ("1.35", "1.36", "1.37")

COMPONENTS = frozenset(("coredns", "servicelb", "traefik", "local-storage", "metrics-server", "runtimes", "ccm"))
NODE_KEYS = words(
    "token token-file server data-dir node-name with-node-id node-label node-taint node-ip node-external-ip "
    "node-internal-dns node-external-dns resolv-conf flannel-iface flannel-conf flannel-cni-conf kubelet-arg "
    "kube-proxy-arg protect-kernel-defaults lb-server-port pause-image snapshotter private-registry "
    "container-runtime-endpoint image-service-endpoint default-runtime disable-default-registry-endpoint "
    "nonroot-devices image-credential-provider-bin-dir image-credential-provider-config disable-apiserver-lb docker "
    "debug v vmodule log alsologtostderr bind-address selinux prefer-bundled-bin vpn-auth vpn-auth-file rootless "
    "enable-pprof airgap-extra-registry"
)
SERVER_KEYS = words(
    "agent-token agent-token-file cluster-init cluster-reset cluster-reset-restore-path https-listen-port "
    "advertise-address advertise-port tls-san tls-san-security cluster-cidr service-cidr service-node-port-range "
    "cluster-dns cluster-domain flannel-backend flannel-ipv6-masq flannel-external-ip egress-selector-mode "
    "servicelb-namespace write-kubeconfig write-kubeconfig-mode write-kubeconfig-group write-kubeconfig-name "
    "datastore-endpoint datastore-cafile datastore-certfile datastore-keyfile etcd-expose-metrics "
    "etcd-disable-snapshots etcd-snapshot-name etcd-snapshot-schedule-cron etcd-snapshot-retention etcd-snapshot-dir "
    "etcd-snapshot-compress etcd-s3 default-local-storage-path disable disable-scheduler disable-cloud-controller "
    "disable-kube-proxy disable-network-policy disable-helm-controller disable-apiserver disable-controller-manager "
    "disable-etcd disable-agent embedded-registry supervisor-metrics secrets-encryption secrets-encryption-provider "
    "kube-apiserver-arg etcd-arg kube-controller-manager-arg kube-scheduler-arg kube-cloud-controller-manager-arg "
    "system-default-registry helm-job-image kine-tls"
)


def check(inventory: Inventory, report: Report) -> None:
    """Report versions, component names and configuration keys that k3s rejects or silently drops."""
    for host in inventory.boards():
        version = host.settings.get("k3s_version")
        if version and version.value is not None:
            _version(host, version, report)
        for name, known, others in (
            ("k3s_server_config", NODE_KEYS | SERVER_KEYS, frozenset[str]()),
            ("k3s_agent_config", NODE_KEYS, SERVER_KEYS),
        ):
            config = host.settings.get(name)
            if config and isinstance(config.value, dict):
                _config(host, config, known, others, report)


def _version(host: Host, setting: Setting, report: Report) -> None:
    minors = host.get("preflight_k3s_minors") or list(DEFAULT_MINORS)
    minors = [str(minor) for minor in minors] if isinstance(minors, list) else list(DEFAULT_MINORS)
    latest = minors[-1]
    text = str(setting.value)
    release = parse(text)
    if release is None or release.pre is not None or release.make not in _MAKES or not release.build:
        like = _LIKE_TAG.match(text)
        series = re.match(r"v?(\d+\.\d+)$", text)
        instead = f"v{series[1] if series and series[1] in minors else latest}.0+k3s1"
        if like:
            instead = f"v{like[1]}.{like[2]}.{like[3]}+{like[4] or 'k3s'}{like[5] or 1}"
        report.setting(host, setting, "not a k3s release: its tags have the form vX.Y.Z+k3sN", f"write it as {instead}")
    elif f"{release.major}.{release.minor}" not in minors:
        report.setting(
            host,
            setting,
            f"Kubernetes {release.major}.{release.minor} is not supported",
            f"write a release of {', '.join(minors)} (preflight_k3s_minors)",
        )


def _components(host: Host, setting: Setting, names: list[Any], within: str, report: Report) -> None:
    for name in names:
        if name not in COMPONENTS:
            otherwise = f"use {', '.join(sorted(COMPONENTS))}"
            report.setting(
                host,
                setting,
                "k3s has no such component and ignores it silently",
                did_you_mean(str(name), COMPONENTS, otherwise),
                inner=within,
                value=name,
            )


def _config(host: Host, config: Setting, known: frozenset[str], others: frozenset[str], report: Report) -> None:
    for written, value in config.value.items():
        key = str(written).removesuffix("+")
        if key in others:
            report.setting(
                host,
                config,
                "a server-only key: an agent does not start with it",
                "move it to k3s_server_config, or delete it",
                inner=str(written),
                value=value,
            )
        elif key not in known and not key.startswith("etcd-s3-"):
            # Newer releases add keys: only a typo of a known one is reported.
            meant = typo_of(key.replace("_", "-"), known)
            if meant:
                report.setting(
                    host,
                    config,
                    "k3s has no such key",
                    f"did you mean {meant}?",
                    inner=str(written),
                    value=value,
                )
        if key == "write-kubeconfig-mode" and not isinstance(value, str):
            report.setting(
                host,
                config,
                "YAML reads an unquoted 0600 as the number 384",
                'write it in quotes, as "0600"',
                inner=str(written),
                value=value,
            )
        if key == "disable":
            names = value if isinstance(value, list) else [value]
            _components(host, config, names, str(written), report)
