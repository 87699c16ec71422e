"""One board, or a few, as the checks of the control node read them."""

from pathlib import Path

from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight import control
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.model import (
    Group,
    Host,
    Inventory,
    Place,
    Report,
    Setting,
)

NEEDS = control.Needs(
    ansible_core="2.19",
    programs=[],
    python_packages=[],
    networks=[],
    cache_free_mb=1,
    check_urls=True,
    url_timeout=3,
    hint="",
)
FILE = Place("hosts.yml")


def board(tmp_path: Path, **values: object) -> Inventory:
    """One unreachable board, with its secrets and cache in tmp_path."""
    values = {
        "ansible_host": "127.0.0.1",
        "ansible_port": 1,
        "cluster_secrets_dir": str(tmp_path / "secrets"),
        "cluster_cache_dir": str(tmp_path / "cache"),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={tmp_path}/secrets/known_hosts",
        "k3s_release_url": "http://127.0.0.1:1/k3s",
        "k3s_version": "v1.36.4+k3s1",
    } | values
    settings = {name: Setting(name, value, Place("all.yml")) for name, value in values.items()}
    groups = frozenset(("cluster", "k3s_servers"))
    host = Host("pi-01", FILE, groups, settings)
    return Inventory(FILE, {"pi-01": host}, {"cluster": Group("cluster", FILE, ("pi-01",))}, {}, ())


def servers(tmp_path: Path, **values: object) -> Inventory:
    inventory = board(tmp_path, **values)
    inventory.groups["k3s_servers"] = Group("k3s_servers", FILE, ("pi-01",))
    return inventory


def texts(report: Report) -> list[str]:
    return [str(finding) for finding in report.findings()]
