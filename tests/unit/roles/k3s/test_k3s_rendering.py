"""config.yaml and units as Ansible itself renders them from an inventory, without a board."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s import keys

from tests.support import ansible_playbook
from tests.support.paths import ROOT


def render(
    folder: Path, servers: list[str], agents: list[str], nodes: dict[str, Any] | None = None, **variables: Any
) -> dict[str, dict[str, str]]:
    """Host to {file name: text}. `nodes` is what k3s_node reported of servers; nothing is reported of the others."""
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
                "reported": nodes or {},
                **variables,
            },
            "children": {
                "k3s_servers": {"hosts": {name: {} for name in servers}},
                "k3s_agents": {"hosts": {name: {} for name in agents}},
                "spare": {"hosts": {name: {} for name in variables.get("case_spare", ())}},
            },
        }
    }
    everything = "dict(ansible_play_hosts | zip(ansible_play_hosts | map('extract', hostvars, 'found')))"
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
                            "ansible.builtin.set_fact": {"__k3s_node": "{{ reported[inventory_hostname] }}"},
                            "when": "inventory_hostname in reported",
                        },
                        {
                            "ansible.builtin.set_fact": {
                                "found": {
                                    "files": "{{ _k3s_files }}",
                                    "registries": "{{ _k3s_registries_text }}",
                                    "pod_networks": "{{ _k3s_clean.pod_networks }}",
                                    "token": "{{ _k3s_join_token }}",
                                    "rolled": "{{ _k3s_rolled }}",
                                }
                            }
                        },
                        {
                            "ansible.builtin.copy": {
                                "content": f"{{{{ {everything} | to_json }}}}",
                                "dest": f"{folder}/found.json",
                                "mode": "0600",
                            },
                            "run_once": True,
                        },
                    ],
                }
            ]
        )
    )
    password = folder / "vault"
    vault = {"ANSIBLE_VAULT_PASSWORD_FILE": str(password)} if password.is_file() else {}
    done = ansible_playbook.run(
        ["-i", folder / "hosts.yml", folder / "play.yml"],
        cwd=ROOT,
        env=ansible_playbook.environment(**vault),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((folder / "found.json").read_text())
    return {host: {Path(f["dest"]).name: f["content"] for f in found[host]["files"]} for host in hosts}


KUBELET = [
    "streaming-connection-idle-timeout=5m",
    "tls-cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,"
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,"
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "pod-max-pids=1024",
    "seccomp-default=true",
    "read-only-port=0",
    "eviction-hard=memory.available<250Mi,imagefs.available<5%,nodefs.available<5%",
]
API = [
    "service-account-extend-token-expiration=false",
    "admission-control-config-file=/etc/rancher/k3s/admission.yaml",
    "audit-policy-file=/etc/rancher/k3s/audit.yaml",
    "audit-log-path=/var/lib/rancher/k3s/server/logs/audit.log",
    "audit-log-maxage=30",
    "audit-log-maxbackup=3",
    "audit-log-maxsize=10",
    "audit-log-mode=batch",
]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    return render(
        tmp_path_factory.mktemp("small"),
        ["pi-01"],
        ["Pi-02"],
        k3s_agent_config={"kubelet-arg": ["max-pods=40", "pod-max-pids=4096"]},
        k3s_server_config={"tls-san+": ["edge.example"], "https-listen-port": 7443, "disable": ["traefik"]},
    )


def test_encrypted_values_are_decrypted(tmp_path: Path) -> None:
    """In the two files that only root may read: k3s would take the ciphertext for the password."""
    secret = VaultSecret(b"password")
    (tmp_path / "vault").write_text("password\n")
    (tmp_path / "group_vars").mkdir()
    lines = VaultLib([("default", secret)]).encrypt("s3cret", secret=secret).decode().splitlines()
    text = "!vault |\n" + "\n".join(f"      {line}" for line in lines)
    (tmp_path / "group_vars" / "all.yml").write_text(
        f"k3s_registries:\n  configs:\n    password: {text}\nk3s_server_config:\n  etcd-s3-secret-key: {text}\n"
    )
    server = render(tmp_path, ["pi-01"], [])["pi-01"]
    assert yaml.safe_load(server["config.yaml"])["etcd-s3-secret-key"] == "s3cret"
    registries = yaml.safe_load(json.loads((tmp_path / "found.json").read_text())["pi-01"]["registries"])
    assert registries == {"configs": {"password": "s3cret"}}


@pytest.mark.parametrize(
    ("cidr", "networks"),
    [
        ("10.52.0.0/16, fd00:52::/56", ["10.52.0.0/16", "fd00:52::/56"]),
        (["10.52.0.0/16", "fd00:52::/56"], ["10.52.0.0/16", "fd00:52::/56"]),
        (None, ["10.42.0.0/16"]),
    ],
)
def test_networks_of_pods_are_found_in_each_form_that_k3s_takes(tmp_path: Path, cidr: Any, networks: list[str]) -> None:
    """A reset removes the routes into them."""
    render(tmp_path, ["pi-01"], [], k3s_server_config={"cluster-cidr": cidr} if cidr else {})
    assert json.loads((tmp_path / "found.json").read_text())["pi-01"]["pod_networks"] == networks


def test_a_server_joins_with_each_token_that_a_cluster_can_have(tmp_path: Path) -> None:
    token = r"a\\1b\g{'$&"
    (tmp_path / "token").write_text(token)
    (tmp_path / "node").write_text(f"K10{'0' * 64}::node:x")
    files = {"k3s_token_file": str(tmp_path / "token"), "k3s_node_token_file": str(tmp_path / "node")}
    render(tmp_path, ["pi-01", "pi-02", "pi-03"], [], **files)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["pi-01"]["token"] == token
    assert found["pi-02"]["token"] == f"K10{'0' * 64}::server:{token}"


def test_a_spare_board_has_joined_under_the_name_of_its_node(tmp_path: Path) -> None:
    nodes = [{"name": "pi-01", "mark": ""}, {"name": "rack-7", "mark": ""}]
    names = {"k3s_node_name": "{{ 'rack-7' if inventory_hostname == 'pi-05' else inventory_hostname }}"}
    spare = ["pi-05", "pi-06"]
    render(tmp_path, ["pi-01"], spare, __k3s_cluster={"nodes": nodes}, case_spare=spare, **names)
    assert json.loads((tmp_path / "found.json").read_text())["pi-01"]["rolled"] == ["pi-01", "pi-05"]


def test_first_server_makes_the_cluster(small: dict[str, dict[str, str]]) -> None:
    assert yaml.safe_load(small["pi-01"]["config.yaml"]) == {
        "token-file": "/etc/rancher/k3s/token",
        "node-name": "pi-01",
        "node-ip": "10.9.0.11",
        "flannel-backend": "host-gw",
        "disable": ["traefik"],
        "tls-san": ["10.9.0.11", "edge.example"],
        "https-listen-port": 7443,
        "protect-kernel-defaults": True,
        "secrets-encryption": True,
        "kubelet-arg": KUBELET,
        "kube-apiserver-arg": API,
        "kube-controller-manager-arg": ["terminated-pod-gc-threshold=100"],
    }


def test_agent_has_only_keys_that_an_agent_survives(small: dict[str, dict[str, str]]) -> None:
    assert yaml.safe_load(small["Pi-02"]["config.yaml"]) == {
        "token-file": "/etc/rancher/k3s/token",
        "node-name": "pi-02",
        "node-ip": "10.9.0.12",
        "server": "https://10.9.0.11:7443",
        "protect-kernel-defaults": True,
        "kubelet-arg": [each for each in KUBELET if "pids" not in each] + ["max-pods=40", "pod-max-pids=4096"],
    }


def test_what_the_role_renders_is_known_to_k3s(small: dict[str, dict[str, str]]) -> None:
    """By the rules for an inventory's own keys, less those that say that the role sets a key."""
    reserved = {reason for reason, _ in keys.RESERVED.values()}
    for host, role in (("pi-01", "server"), ("Pi-02", "agent")):
        found = keys.problems(yaml.safe_load(small[host]["config.yaml"]), role, "v1.36.4+k3s1")
        assert [str(each) for each in found if each.problem not in reserved] == []


def test_files_that_arguments_name_are_on_servers(small: dict[str, dict[str, str]]) -> None:
    admission = yaml.safe_load(small["pi-01"]["admission.yaml"])["plugins"]
    assert [each["name"] for each in admission] == ["PodSecurity"]
    assert admission[0]["configuration"]["defaults"]["enforce"] == "baseline"
    assert admission[0]["configuration"]["exemptions"]["namespaces"] == ["kube-system"]
    policy = yaml.safe_load(small["pi-01"]["audit.yaml"])
    assert policy["kind"] == "Policy"
    # The content of a Secret would be in levels above this one.
    assert {rule["level"] for rule in policy["rules"]} == {"None", "Metadata"}
    assert "secrets" in policy["rules"][0]["resources"][0]["resources"]
    assert policy["rules"][-1] == {"level": "Metadata"}


def test_without_hardening_k3s_has_its_own_defaults(tmp_path: Path) -> None:
    hosts = render(tmp_path, ["pi-01"], ["pi-02"], k3s_hardening="false")  # as -e gives it
    for host in hosts:
        assert set(hosts[host]) == {"config.yaml", "k3s.service" if host == "pi-01" else "k3s-agent.service"}
        config = yaml.safe_load(hosts[host]["config.yaml"])
        assert not {key for key in config if key.endswith("-arg")} | ({"protect-kernel-defaults"} & set(config))
        assert "secrets-encryption" not in config


def test_a_blank_server_encrypts_secrets_as_the_cluster_that_it_joins(tmp_path: Path) -> None:
    blank, running = {"cluster_token": "absent", "encryption": False}, {"cluster_token": "same", "encryption": True}
    nodes = {"pi-01": blank, "pi-02": running, "pi-03": running}
    hosts = render(tmp_path, list(nodes), [], nodes=nodes, k3s_secrets_encryption=False)
    assert [yaml.safe_load(files["config.yaml"])["secrets-encryption"] for files in hosts.values()] == [True] * 3


def test_units_are_of_their_role(small: dict[str, dict[str, str]]) -> None:
    assert set(small["pi-01"]) == {"config.yaml", "k3s.service", "admission.yaml", "audit.yaml"}
    assert set(small["Pi-02"]) == {"config.yaml", "k3s-agent.service"}
    assert "ExecStart=/usr/local/bin/k3s server\n" in small["pi-01"]["k3s.service"]
    assert "ExecStart=/usr/local/bin/k3s agent\n" in small["Pi-02"]["k3s-agent.service"]
    for files in small.values():
        unit = next(text for name, text in files.items() if name.endswith(".service"))
        # cloud-init ends after multi-user.target, and must not wait for an agent whose server is gone.
        assert "After=network-online.target time-sync.target multi-user.target\n" in unit
        assert "KillMode=process\n" in unit


def test_three_servers_share_one_etcd(tmp_path: Path) -> None:
    hosts = render(tmp_path, ["pi-01", "pi-02", "pi-03"], [])
    configs = {host: yaml.safe_load(files["config.yaml"]) for host, files in hosts.items()}
    assert [config.get("cluster-init", False) for config in configs.values()] == [True, False, False]
    assert [config.get("server") for config in configs.values()] == [None, *["https://10.9.0.11:6443"] * 2]
    assert configs["pi-03"]["tls-san"] == ["10.9.0.11", "10.9.0.13"]


def test_a_password_in_the_configuration_is_in_no_output(tmp_path: Path) -> None:
    """Neither with -v and --diff nor when the file cannot be written."""
    secret = "postgres://k3s:secret@192.0.2.1"
    files = [
        {"dest": str(tmp_path / name), "mode": "0600", "content": f"datastore-endpoint: {secret}\n"}
        for name in ("config.yaml", "missing/config.yaml")
    ]
    configure = {
        "block": [{"ansible.builtin.import_role": {"name": "k3s", "tasks_from": "configure"}}],
        "vars": {"_k3s_files": files, "_k3s_pending": [each["dest"] for each in files]},
    }
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [configure]}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play))
    done = ansible_playbook.run(["-vvv", "--diff", tmp_path / "play.yml"], cwd=ROOT)
    assert done.returncode == 2 and "Destination directory" in done.stdout, done.stdout + done.stderr
    assert secret not in done.stdout + done.stderr
