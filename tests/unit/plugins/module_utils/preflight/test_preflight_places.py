"""The reported place of a variable is the one of the value that Ansible uses: here each value is its own place."""

from pathlib import Path

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret, VaultSecretsContext
from ansible.plugins.loader import init_plugin_loader
from ansible.vars.manager import VariableManager
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight import secrets, variables
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.files import read
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.inventory import check
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.model import Report
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.reader import Reader

from tests.support.paths import ROOT

HOSTS = """\
all:
  vars:
    a: hosts.yml:3
    b: hosts.yml:4
    c: hosts.yml:5
    d: hosts.yml:6
  children:
    outer:
      vars:
        a: hosts.yml:10
        c: hosts.yml:11
      children:
        inner:
          vars:
            b: hosts.yml:15
            d: hosts.yml:16
            g: {key: hosts.yml:17}
          hosts:
            pi-01:
              d: hosts.yml:20
              e: hosts.yml:21
              f: hosts.yml:22
"""
FILES = {
    "hosts.yml": HOSTS,
    # Takes precedence over any group of the inventory's own file, but not over a group's file.
    "group_vars/all.yml": "c: group_vars/all.yml:1\nh: group_vars/all.yml:2\ni: group_vars/all.yml:3\n",
    "group_vars/outer.yml": "\nh: group_vars/outer.yml:2\ni: group_vars/outer.yml:3\n",
    "group_vars/inner.yml": "\ni: group_vars/inner.yml:2\ne: group_vars/inner.yml:3\n",
    "host_vars/pi-01.yml": "f: host_vars/pi-01.yml:1\n",
}


@pytest.fixture(scope="module", autouse=True)
def _plugins() -> None:
    init_plugin_loader()


def test_places_follow_ansibles_precedence(tmp_path: Path) -> None:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    loader = DataLoader()
    loader.set_basedir(str(ROOT))
    manager = InventoryManager(loader, sources=[str(tmp_path / "hosts.yml")])
    inventory, _ = Reader(manager, VariableManager(loader, manager), loader, ROOT / "roles", tmp_path).read()
    settings = inventory.hosts["pi-01"].settings
    assert sorted(settings) == list("abcdefghi")
    for name, setting in settings.items():
        if name == "g":
            assert str(setting.place_of("key")) == setting.value["key"]
        else:
            assert (name, str(setting.place)) == (name, setting.value)
        assert setting.per_host == (name in "def")


def test_only_files_with_hosts_are_read_for_places(tmp_path: Path) -> None:
    """A plugin's configuration is no list of groups, and a program prints one."""
    (tmp_path / "hosts.yml").write_text("cluster: {hosts: {pi-01: }}\n")
    (tmp_path / "zz.yml").write_text("plugin: ansible.builtin.constructed\nstrict: true\ngroups: {a: 'true'}\n")
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n[ ungrouped ]\n")
    program.chmod(0o755)
    found = read([tmp_path], lambda path: path.name)
    assert (found.findings, found.unreadable, set(found.groups)) == ([], False, {"cluster"})


@pytest.mark.parametrize("password", [b"password", None])
def test_an_encrypted_value_is_checked_where_its_password_is_given(
    tmp_path: Path, password: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = VaultSecret(b"password")
    vault = VaultLib([("default", secret)])
    values = {
        "ansible_host": "192.168.1.300",
        "ansible_user": "ada l",
        "flash_interface": "eth0:1",
        "k3s_version": "v1",
    }
    lines = []
    for name, value in values.items():
        text = vault.encrypt(value, secret=secret).decode().replace("\n", "\n  ")
        lines.append(f"{name}: !vault |\n  {text}\n")
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "hosts.yml").write_text("all: {hosts: {pi-01: }}\n")
    (tmp_path / "group_vars/all.yml").write_text("".join(lines))
    loader = DataLoader()
    loader.set_basedir(str(ROOT))
    known = [("default", VaultSecret(password))] if password else []
    loader.set_vault_secrets(known)
    monkeypatch.setattr(VaultSecretsContext, "_current", VaultSecretsContext(known))
    manager = InventoryManager(loader, sources=[str(tmp_path / "hosts.yml")])
    inventory, read_errors = Reader(manager, VariableManager(loader, manager), loader, ROOT / "roles", tmp_path).read()
    found = [str(each) for each in check(inventory, read_errors) if each.place.file.startswith("group_vars")]
    assert [each.split(" ")[1] for each in found] == (list(values) if password else [])
    assert all(each.split(": ")[1].endswith(" = (not shown)") for each in found)


def test_what_an_encrypted_file_has_is_no_secret_in_plain_text_and_is_not_shown(tmp_path: Path) -> None:
    secret = VaultSecret(b"password")
    vault = VaultLib([("default", secret)])
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "hosts.yml").write_text("all: {hosts: {pi-01: }}\n")
    (tmp_path / "group_vars/all.yml").write_bytes(
        vault.encrypt("my_password: secret\nk3s_join_timeout: soon\n", secret=secret)
    )
    loader = DataLoader()
    loader.set_basedir(str(ROOT))
    loader.set_vault_secrets([("default", secret)])
    manager = InventoryManager(loader, sources=[str(tmp_path / "hosts.yml")])
    inventory, _ = Reader(manager, VariableManager(loader, manager), loader, ROOT / "roles", tmp_path).read()
    report = Report()
    secrets.check(inventory, report)
    variables.check(inventory, report)
    assert [str(finding) for finding in report.findings()] == [
        "group_vars/all.yml: k3s_join_timeout = (not shown): not a whole number; write the number without quotes"
    ]
