"""config.yaml and units as Ansible itself renders them from an inventory, without a board."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT


def render(folder: Path, servers: list[str], agents: list[str], **variables: Any) -> dict[str, dict[str, str]]:
    """Host to {file name: text}."""
    hosts = {name: {"ansible_host": f"10.9.0.{number}"} for number, name in enumerate([*servers, *agents], start=11)}
    inventory = {
        "all": {
            "hosts": hosts,
            "vars": {
                "ansible_connection": "local",
                "ansible_python_interpreter": "{{ ansible_playbook_python }}",
                "cluster_name": "unit",
                "cluster_cache_dir": str(folder / "cache"),
                "cluster_secrets_dir": str(folder / "secrets"),
                **variables,
            },
            "children": {
                "k3s_servers": {"hosts": {name: {} for name in servers}},
                "k3s_agents": {"hosts": {name: {} for name in agents}},
            },
        }
    }
    # Templates are looked for beside the play, as the task that needs them is not in the role.
    (folder / "templates").symlink_to(ROOT / "roles" / "k3s" / "templates")
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    (folder / "play.yml").write_text(
        yaml.safe_dump(
            [
                {
                    "hosts": "k3s_servers:k3s_agents",
                    "gather_facts": False,
                    # The tasks of the role need a board; its variables do not.
                    "tasks": [
                        {
                            "ansible.builtin.import_role": {"name": "k3s", "tasks_from": "probe"},
                            "vars": {"_k3s_wait": 0},
                            "when": False,
                        },
                        {
                            "ansible.builtin.copy": {
                                "content": "{{ _k3s_files | to_json }}",
                                "dest": f"{folder}/{{{{ inventory_hostname }}}}.json",
                                "mode": "0600",
                            }
                        },
                    ],
                }
            ]
        )
    )
    done = subprocess.run(
        ["ansible-playbook", "-i", str(folder / "hosts.yml"), str(folder / "play.yml")],
        cwd=ROOT,
        env={"PATH": f"{ROOT}/.venv/bin:/usr/bin:/bin", "HOME": str(folder), "ANSIBLE_ROLES_PATH": str(ROOT / "roles")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {
        host: {Path(f["dest"]).name: f["content"] for f in json.loads((folder / f"{host}.json").read_text())}
        for host in hosts
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    return render(
        tmp_path_factory.mktemp("small"),
        ["pi-01"],
        ["Pi-02"],
        k3s_agent_config={"kubelet-arg": ["max-pods=40"]},
        k3s_server_config={"tls-san": ["edge.example"], "https-listen-port": 7443},
    )


def test_first_server_makes_the_cluster(small: dict[str, dict[str, str]]) -> None:
    assert yaml.safe_load(small["pi-01"]["config.yaml"]) == {
        "token-file": "/etc/rancher/k3s/token",
        "node-name": "pi-01",
        "node-ip": "10.9.0.11",
        "flannel-backend": "host-gw",
        "disable": ["traefik", "servicelb", "local-storage", "metrics-server"],
        "tls-san": ["edge.example"],
        "https-listen-port": 7443,
    }


def test_agent_has_only_keys_that_an_agent_survives(small: dict[str, dict[str, str]]) -> None:
    assert yaml.safe_load(small["Pi-02"]["config.yaml"]) == {
        "token-file": "/etc/rancher/k3s/token",
        "node-name": "pi-02",
        "node-ip": "10.9.0.12",
        "server": "https://10.9.0.11:7443",
        "kubelet-arg": ["max-pods=40"],
    }


def test_units_are_of_their_role(small: dict[str, dict[str, str]]) -> None:
    assert set(small["pi-01"]) == {"config.yaml", "k3s.service"}
    assert set(small["Pi-02"]) == {"config.yaml", "k3s-agent.service"}
    assert "ExecStart=/usr/local/bin/k3s server\n" in small["pi-01"]["k3s.service"]
    assert "ExecStart=/usr/local/bin/k3s agent\n" in small["Pi-02"]["k3s-agent.service"]
    for files in small.values():
        unit = next(text for name, text in files.items() if name.endswith(".service"))
        assert "time-sync.target" in unit
        assert "KillMode=process\n" in unit


def test_three_servers_share_one_etcd(tmp_path: Path) -> None:
    hosts = render(tmp_path, ["pi-01", "pi-02", "pi-03"], [])
    configs = {host: yaml.safe_load(files["config.yaml"]) for host, files in hosts.items()}
    assert [config.get("cluster-init", False) for config in configs.values()] == [True, False, False]
    assert [config.get("server") for config in configs.values()] == [None, *["https://10.9.0.11:6443"] * 2]
    assert configs["pi-03"]["tls-san"] == ["10.9.0.11", "10.9.0.13"]
