"""Where the tests of a running cluster look from: its inventory, ssh to every board, the Kubernetes API.

The inventory is the lab's unless ``EDGE_INVENTORY`` names another one, so the same tests check real boards:
``EDGE_INVENTORY=inventory/home pytest tests/default``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import testinfra
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar
from ansible.vars.manager import VariableManager
from kubernetes import client, config

from tests.support.paths import ROOT


@dataclass(frozen=True)
class Cluster:
    """An inventory with its variables resolved as Ansible resolves them."""

    loader: DataLoader
    inventory: InventoryManager
    variables: VariableManager

    def hosts(self, group: str) -> list[str]:
        """Names of the hosts in a group, in inventory order."""
        return [host.name for host in self.inventory.get_hosts(group)]

    def var(self, name: str, host: str = "localhost", role: str = "") -> Any:
        """One variable of a host, templated; where the inventory does not set it, the default of that role."""
        target = self.inventory.get_host(host)
        values = self.variables.get_vars(host=target, include_hostvars=False)
        if role:
            defaults = str(ROOT / "roles" / role / "defaults/main.yml")
            values = self.loader.load_from_file(defaults, trusted_as_template=True) | values
        return Templar(self.loader, variables=values).template(values[name])

    def path(self, name: str) -> Path:
        """A variable that holds a path on the control node."""
        return Path(str(self.var(name)))

    def address(self, host: str) -> str:
        """The address a board answers on."""
        return str(self.var("ansible_host", host))


def load_cluster() -> Cluster:
    source = os.environ.get("EDGE_INVENTORY", str(ROOT / "inventory" / "lab"))
    init_plugin_loader()
    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=[source])
    return Cluster(loader, inventory, VariableManager(loader=loader, inventory=inventory))


CLUSTER = load_cluster()
#: Whether the boards are virtual ones, and what only they have can be tested.
IN_LAB = "lab_subnet" in CLUSTER.variables.get_vars(host=CLUSTER.inventory.get_host("localhost"))


def connect(name: str, *, sudo: bool = True) -> Any:
    """A testinfra host over the same ssh, key and known hosts that Ansible uses, as root by sudo."""
    user = CLUSTER.var("ansible_user", name)
    return testinfra.get_host(
        f"ssh://{user}@{CLUSTER.address(name)}",
        sudo=sudo,
        ssh_identity_file=str(CLUSTER.var("ansible_ssh_private_key_file", name)),
        ssh_extra_args=str(CLUSTER.var("ansible_ssh_common_args", name)) + " -o BatchMode=yes -o ConnectTimeout=10",
        controlpersist=60,
    )


def kubernetes_api(server: str = "") -> client.ApiClient:
    """The Kubernetes API through the kubeconfig that the play left on the control node, or as one `server` gives it."""
    made = config.new_client_from_config(str(CLUSTER.path("cluster_secrets_dir") / "kubeconfig"))
    if server:
        made.configuration.host = f"https://{CLUSTER.address(server)}:6443"
    return made
