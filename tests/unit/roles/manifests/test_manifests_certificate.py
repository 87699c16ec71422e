"""The keys of the Ingress: made once, and kept when a certificate is made anew."""

from __future__ import annotations

import json
import re
import stat
import sys
from pathlib import Path

from tests.support import ansible_playbook

FILES = ["ingress-ca.crt", "ingress-ca.key", "ingress.crt", "ingress.key"]
KEYS = ("ingress-ca.key", "ingress.key")


def make(folder: Path, *options: str) -> int:
    """How many tasks changed something."""
    secrets = folder / "secrets"
    secrets.mkdir(exist_ok=True)
    board = {"ansible_host": "10.0.0.11", "ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    values = {"cluster_name": "home", "cluster_secrets_dir": str(secrets)}
    groups = {"k3s_servers": {"hosts": {"pi-01": board}}}
    (folder / "hosts.json").write_text(
        json.dumps({"all": {"hosts": {"localhost": local}, "children": groups, "vars": values}})
    )
    role = {"ansible.builtin.import_role": {"name": "manifests", "tasks_from": "certificate"}}
    (folder / "play.yml").write_text(json.dumps([{"hosts": "k3s_servers", "gather_facts": False, "tasks": [role]}]))
    done = ansible_playbook.run(["-i", "hosts.json", "play.yml", *options], cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PRIVATE KEY" not in done.stdout + done.stderr
    return int(re.findall(r"changed=(\d+)", done.stdout)[0])


def test_keys_are_made_once_and_stay_with_a_new_certificate(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    assert make(tmp_path, "--check") > 0
    assert list(secrets.iterdir()) == []

    assert make(tmp_path) == 4
    assert sorted(path.name for path in secrets.iterdir()) == FILES
    first = {name: (secrets / name).read_text() for name in FILES}
    for name in KEYS:
        assert first[name].startswith("-----BEGIN EC PRIVATE KEY-----")
        assert stat.S_IMODE((secrets / name).stat().st_mode) == 0o600
    assert make(tmp_path) == 0

    (secrets / "ingress.crt").unlink()
    # What a power cut may have left of a release that did not wait for the disk.
    (secrets / "ingress-ca.key").write_text("")
    (secrets / "ingress-ca.crt").unlink()
    assert make(tmp_path) == 3
    assert (secrets / "ingress-ca.key").read_text() not in ("", first["ingress-ca.key"])
    assert (secrets / "ingress.key").read_text() == first["ingress.key"]
    assert (secrets / "ingress.crt").read_text() != first["ingress.crt"]
