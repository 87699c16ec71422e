"""k3s: its version, and the keys of its config.yaml (module_utils/k3s has the rules; here they meet an inventory)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..k3s.keys import VARIABLES, named_problem, problems, texts, value_problem
from ..k3s.version import parse, release_problem
from .model import Host, Inventory, Report, Setting
from .suggest import did_you_mean

_ALL_ADDRESSES = ("0.0.0.0", "::")
DEFAULT_MINORS = ("1.35", "1.36", "1.37")
#: What k3s_registries has for each registry: type of a key's value, and the keys in it where they are known.
_OF_REGISTRIES: dict[str, dict[str, tuple[type, tuple[str, ...]]]] = {
    "mirrors": {"endpoint": (list, ()), "rewrite": (dict, ())},
    "configs": {
        "auth": (dict, ("username", "password", "auth", "identity_token")),
        "tls": (dict, ("ca_file", "cert_file", "key_file", "insecure_skip_verify")),
    },
}


def check(inventory: Inventory, report: Report) -> None:
    """Report versions, component names and configuration keys that k3s or its role rejects or silently drops."""
    for host in inventory.boards():
        version = host.settings.get("k3s_version")
        if version and version.value is not None:
            _version(host, version, report)
        if (host.get("k3s_ingress") or inventory.defaults.get("k3s_ingress")) == "traefik":
            _ingress(host, report)
        _policies(host, inventory, report)
        release = str(host.get("k3s_version") or inventory.defaults.get("k3s_version", ""))
        if registries := host.settings.get("k3s_registries"):
            for where, value, problem, remedy in _registries(registries.value):
                report.setting(host, registries, problem, remedy, inner=where, value=value)
        for role, name in VARIABLES.items():
            config = host.settings.get(name)
            if config:
                _config(host, config, role, release, report)
                if ("k3s_servers" in host.groups) == (role == "server"):
                    _own_addresses(host, config, report)


def _registries(value: Any) -> Iterator[tuple[str, Any, str, str]]:
    """Place, name of the registry, problem and remedy of what k3s passes over: it takes only keys that it knows."""
    for part, kinds in _OF_REGISTRIES.items():
        registries = value.get(part) if isinstance(value, dict) else None
        for name, registry in registries.items() if isinstance(registries, dict) else ():
            if registry is not None and not isinstance(registry, dict):
                yield part, name, "not a dictionary", f"write {' or '.join(kinds)} below it"
                continue
            for key, each in (registry or {}).items():
                kind, known = kinds.get(key, (None, ()))
                if kind is None:
                    yield part, name, f"has no key {key}", did_you_mean(str(key), kinds, f"use {' or '.join(kinds)}")
                elif not isinstance(each, kind):
                    remedy = "write each as an item, `- item`" if kind is list else "write `name: value` below it"
                    yield part, name, f"its {key} is not a {kind.__name__}", remedy
                elif known and isinstance(each, dict):
                    for unknown in sorted(set(each) - set(known)):
                        yield part, name, f"its {key} has no key {unknown}", f"use {' or '.join(known)}"
                    if not isinstance(each.get("insecure_skip_verify", False), bool):
                        yield part, name, "insecure_skip_verify is not true or false", "write it without quotes"


def _version(host: Host, setting: Setting, report: Report) -> None:
    minors = host.get("preflight_k3s_minors") or list(DEFAULT_MINORS)
    minors = [str(minor) for minor in minors] if isinstance(minors, list) else list(DEFAULT_MINORS)
    problem = release_problem(str(setting.value))
    release = parse(str(setting.value))
    if problem:
        report.setting(host, setting, *problem)
    elif release and f"{release.major}.{release.minor}" not in minors:
        report.setting(
            host,
            setting,
            f"Kubernetes {release.major}.{release.minor} is not supported",
            f"write a release of {', '.join(minors)} (preflight_k3s_minors)",
        )


def _ingress(host: Host, report: Report) -> None:
    """Report what the Ingress consists of and a list of components to disable leaves out."""
    disabled = host.settings.get("k3s_disable")
    config = host.settings.get("k3s_server_config")
    if config and isinstance(config.value, dict) and config.value.get("disable-helm-controller") is True:
        problem = "k3s installs Traefik with it, and k3s_ingress is traefik"
        remedy = "delete it, or write k3s_ingress: none"
        report.setting(host, config, problem, remedy, inner="disable-helm-controller", value=True)
    lists: list[tuple[Setting, str | None, Any]] = [(disabled, None, disabled.value)] if disabled else []
    if config and isinstance(config.value, dict):
        lists += [(config, key, config.value[key]) for key in ("disable", "disable+") if key in config.value]
    for setting, inner, value in lists:
        names = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
        for name in ("traefik", "servicelb"):
            if name in names:
                problem = f"{name} is left out, but k3s_ingress is traefik, which needs it"
                remedy = "remove it from the list, or write k3s_ingress: none"
                report.setting(host, setting, problem, remedy, inner=inner, value=value)


def _policies(host: Host, inventory: Inventory, report: Report) -> None:
    """Report network policies that would be applied, and that nothing enforces."""
    config = host.settings.get("k3s_server_config")
    key = "disable-network-policy"
    if not config or not isinstance(config.value, dict) or config.value.get(key) is not True:
        return
    name = "manifests_network_policies"
    control = inventory.hosts.get("localhost", host)
    if inventory.value(control, name) is not False:
        problem = f"network policies are applied ({name}), but nothing would enforce them"
        report.setting(host, config, problem, f"delete it, or write {name}: false", inner=key, value=True)


def _own_addresses(host: Host, config: Setting, report: Report) -> None:
    """Report an address to listen on, or to be reached at by the other nodes, that the board does not have."""
    values = config.value if isinstance(config.value, dict) else {}
    own = [str(host.get(name)) for name in ("ansible_host", "k3s_node_ip") if host.get(name)]
    external = texts(values, "node-external-ip")
    for key, known in (("bind-address", [*_ALL_ADDRESSES, *own]), ("advertise-address", [*own, *external])):
        value = values.get(key)
        if not own or not isinstance(value, str) or value_problem(key, value):
            continue  # reported elsewhere
        if value not in known:
            remedy = f"delete it, or write {' or '.join(dict.fromkeys(own))}, for this board alone"
            report.setting(host, config, f"not an address of {host.name}", remedy, inner=key, value=value)


def _config(host: Host, config: Setting, role: str, version: str, report: Report) -> None:
    if isinstance(config.value, dict):
        for each in problems(config.value, role, version):
            report.setting(host, config, each.problem, each.remedy, inner=each.written, value=each.value)
        return
    # Encrypted values are not decrypted for this, but their keys stand in plain text.
    for written in config.inner:
        problem = named_problem(written, role, version)
        if problem:
            report.setting(host, config, *problem, inner=written, value="(not shown)")
