"""k8s/ as kustomize renders it: with this cluster's values from the role, and without Ansible."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import ssl
import subprocess
from base64 import b64decode
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import kustomize, programs
from tests.support.paths import ROOT

Objects = dict[tuple[str, str], dict[str, Any]]
OVERLAYS, JOBS = ROOT / "k8s" / "overlays", ROOT / "k8s" / "jobs"
HASH = "argon2:$argon2id$of-the-role"
PORTS = "jupyter-node-ports"

pytestmark = kustomize.needed


def by_name(text: str) -> Objects:
    """Objects by kind and name, the hash of generated names left out."""
    found: Objects = {}
    for each in yaml.load_all(text, Loader=yaml.CSafeLoader):
        name = each["metadata"]["name"]
        if each["kind"] in ("ConfigMap", "Secret"):
            name = name.rpartition("-")[0]
        assert (each["kind"], name) not in found
        found[each["kind"], name] = each
    return found


@cache
def built(folder: Path) -> str:
    done = subprocess.run([*kustomize.COMMAND, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(folder: Path) -> Objects:
    """A directory as `kubectl kustomize` renders it where it is."""
    return by_name(built(folder))


SETTINGS = {
    "manifests_nfs_server": "10.77.0.11",
    "manifests_image": "edge-ai/tensorflow-jupyter:7",
    "manifests_lite_image": "localhost/edge-ai/litert:8",
    "manifests_render_host": "localhost",
    # The board that is localhost here is another one in Kubernetes.
    "k3s_node_name": "pi-07",
    "cluster_name": "home",
    "k3s_server_config": {"https-listen-port": 7443, "node-external-ip": "203.0.113.7"},
}
PATHS = ("case_secrets_dir", "manifests_tls_certificate_file")
OUTPUT = "{{ __manifests_render.text }}"
NO_INGRESS, NO_STATUS = {"manifests_ingress": "none"}, {"manifests_status_page": False}
#: The overlay and variables of each case; the overlay example is a copy of it outside the repository.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{overlay: (overlay, {}) for overlay in ("split", "combined", "lite", "example")},
    **{f"{each} without ingress": (each, NO_INGRESS) for each in ("split", "combined", "lite", "example")},
    **{f"{each} without status page": (each, NO_STATUS) for each in ("split", "combined", "lite")},
    "split without node ports": ("split", {"manifests_node_ports": False}),
    "split with networks": ("split", {"_manifests_networks": ["203.0.113.0/24"]}),
    "split with another server": ("split", {"_manifests_nfs_host": ""}),
    "split without policies": ("split", {"manifests_network_policies": False}),
    "split with certificates": ("split", {"case_secrets_dir": "certificates"}),
    "split with own certificates": (
        "split", {"case_secrets_dir": "certificates", "manifests_tls_certificate_file": "certificates/own.crt"}
    ),
    "hub without users": ("hub", {}),
    # Two users, and carol, who is none yet: --check of a run that would make her hash. The label that all objects get
    # has the logins as the role computes them.
    "hub": (
        "hub",
        {
            "case_secrets_dir": "secrets-hub",
            "manifests_hub_image": "localhost/edge-ai/hub:9",
            "manifests_hub_users": ["alice", "bob", "carol"],
            "manifests_hub_admins": ["bob"],
            "manifests_hub_memory_limit_mb": 700,
            "_manifests_manager": "{{ _manifests_hub_logins | join('_') }}",
        },
    ),
}  # fmt: skip
PASSWORDS = {"alice": "argon2:$argon2id$of-alice", "bob": "$argon2id$of-bob"}


def secrets(folder: Path) -> Path:
    """The folder, with what the role has made there."""
    folder.mkdir(exist_ok=True)
    (folder / "jupyter-password.argon2").write_text(HASH + "\n")
    (folder / "jupyter-password.cookies").write_text("of all replicas\n")
    return folder


def own_certificates() -> list[str]:
    """Any two."""
    return [ssl.DER_cert_to_PEM_cert(each) for each in ssl.create_default_context().get_ca_certs(binary_form=True)[:2]]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the role renders in each case."""
    folder = tmp_path_factory.mktemp("rendered")
    (secrets(folder / "secrets") / "status-token").write_text("t0\n")
    (secrets(folder / "secrets-hub") / "hub").mkdir()
    for name, stored in PASSWORDS.items():
        (folder / f"secrets-hub/hub/{name}.argon2").write_text(stored + "\n")
    (folder / "secrets-hub/hub.cookies").write_text("c0\n")
    (folder / "secrets-hub/hub.proxy").write_text("t0\n")
    leaf, ca = own_certificates()
    for name, text in (("ingress", leaf), ("ingress-ca", ca), ("own", leaf)):
        (secrets(folder / "certificates") / f"{name}.crt").write_text(text)
    (folder / "outside").mkdir()
    own = str(example(folder / "outside"))
    cases = {}
    for name, (overlay, variables) in CASES.items():
        paths = {key: str(folder / value) for key, value in variables.items() if key in PATHS}
        case = {"case_secrets_dir": str(folder / "secrets"), **variables, **paths}
        cases[name] = {"manifests_overlay": own if overlay == "example" else overlay, **case}
    done = kustomize.play(folder, "manifests", OUTPUT, cases, **SETTINGS)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, str] = json.loads((folder / "outputs.json").read_text())
    return found


@pytest.fixture
def rendered(outputs: dict[str, str]) -> Callable[[str], Objects]:
    """The objects of a case."""
    return lambda case: by_name(outputs[case])


Rendered = Callable[[str], Objects]


def container(objects: Objects, name: str) -> dict[str, Any]:
    found: dict[str, Any] = objects["Deployment", name]["spec"]["template"]["spec"]["containers"][0]
    return found


def check_values_of_the_cluster(objects: Objects) -> None:
    secret = objects["Secret", "jupyter-password"]
    assert b64decode(secret["data"]["hashed_password"]).decode() == HASH
    assert b64decode(secret["data"]["cookie_secret"]).decode() == "of all replicas"
    assert objects["PersistentVolume", "nfs"]["spec"]["nfs"] == {"server": "10.77.0.11", "path": "/"}
    configuration = objects["ConfigMap", "jupyter-config"]
    assert set(configuration["data"]) == {"jupyter_server_config.py", "idle_timeout"}
    assert configuration["data"]["idle_timeout"] == "28800"
    for (kind, name), each in objects.items():
        assert each["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "edge-ai-cluster"
        assert each["metadata"]["labels"]["app.kubernetes.io/part-of"] == "edge-ai"
        namespace = "kube-system" if name == PORTS else "edge-ai"
        cluster_wide = ("Namespace", "PersistentVolume", "ClusterRole", "ClusterRoleBinding")
        assert kind in cluster_wide or each["metadata"]["namespace"] == namespace
        if kind == "Deployment":
            assert container(objects, name)["image"] == "edge-ai/tensorflow-jupyter:7"
            volumes = {volume["name"]: volume for volume in each["spec"]["template"]["spec"]["volumes"]}
            assert volumes["config"]["configMap"]["name"] == configuration["metadata"]["name"]
            assert volumes["password"]["secret"]["secretName"] == secret["metadata"]["name"]
            label = {"app": name}
            assert each["spec"]["selector"]["matchLabels"] == label
            assert objects["Service", name]["spec"]["selector"] == label


COMMON = {
    ("Namespace", "edge-ai"),
    ("PersistentVolume", "nfs"),
    ("PersistentVolumeClaim", "nfs"),
    ("ConfigMap", "jupyter-config"),
    ("Secret", "jupyter-password"),
    ("NetworkPolicy", "default"),
    ("NetworkPolicy", "served"),
    ("ResourceQuota", "edge-ai"),
    ("LimitRange", "edge-ai"),
}


def test_split_has_a_jupyter_for_each_role_of_boards(rendered: Rendered) -> None:
    objects = rendered("split without ingress")
    check_values_of_the_cluster(objects)
    instances = {
        (kind, f"{each}-instance") for kind in ("Deployment", "Service") for each in ("training", "prediction")
    }
    assert set(objects) == COMMON | instances
    for each, port in (("training", 30000), ("prediction", 30001)):
        deployment = objects["Deployment", f"{each}-instance"]["spec"]
        assert deployment["template"]["spec"]["nodeSelector"] == {"role": each}
        assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
        service = objects["Service", f"{each}-instance"]["spec"]
        assert service["type"] == "NodePort"
        assert service["ports"] == [{"name": "http", "port": 8888, "targetPort": "http", "nodePort": port}]


def test_combined_has_two_replicas_on_two_boards(rendered: Rendered) -> None:
    objects = rendered("combined without ingress")
    check_values_of_the_cluster(objects)
    name = "tensorflow-jupyter-rpi"
    assert set(objects) == COMMON | {(kind, name) for kind in ("Deployment", "Service", "PodDisruptionBudget")}
    deployment = objects["Deployment", name]["spec"]
    assert deployment["replicas"] == 2
    assert "nodeSelector" not in deployment["template"]["spec"]
    # Empty selectors would match every pod of the namespace.
    assert objects["PodDisruptionBudget", name]["spec"]["selector"] == {"matchLabels": {"app": name}}
    (spread,) = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"] == {"matchLabels": {"app": name}}
    assert container(objects, name)["resources"]["requests"]["memory"] == "2Gi"
    assert "type" not in objects["Service", name]["spec"]


def test_combined_is_behind_the_ingress_where_there_is_one(rendered: Rendered) -> None:
    objects = rendered("combined without status page")
    check_values_of_the_cluster(objects)
    without = rendered("combined without ingress")
    assert {kind for kind, _ in objects} - {kind for kind, _ in without} == {
        "IngressRoute", "Middleware", "ServersTransport", "TLSStore",
    }  # fmt: skip
    # A session stays on its replica whatever it asks for.
    services = [each for route in objects["IngressRoute", "jupyter"]["spec"]["routes"] for each in route["services"]]
    assert {(each["name"], each["sticky"]["cookie"]["name"]) for each in services} == {
        ("tensorflow-jupyter-rpi", "edge-ai")
    }
    assert objects["IngressRoute", "jupyter"]["spec"]["entryPoints"] == ["websecure"]


def route_of(objects: Objects, method: str, path: str, headers: dict[str, str]) -> dict[str, Any]:
    """The route that Traefik takes for a request: of those that match, the one with the longest rule."""
    functions = {
        "Path": lambda wanted: path == wanted,
        "PathPrefix": path.startswith,
        "Method": lambda wanted: method == wanted,
        "Header": lambda name, wanted: headers.get(name) == wanted,
        "HeaderRegexp": lambda name, pattern: re.search(pattern, headers.get(name, "")) is not None,
    }

    def matches(rule: str) -> bool:
        quoted = re.sub("`[^`]*`", lambda text: repr(text[0][1:-1]), rule)
        return bool(eval(quoted.replace("&&", "and").replace("||", "or").replace("!", "not "), {}, functions))

    routes: list[dict[str, Any]] = objects["IngressRoute", "jupyter"]["spec"]["routes"]
    return max((each for each in routes if matches(each["match"])), key=lambda each: len(each["match"]))


@pytest.mark.parametrize(
    ("overlay", "page"),
    [
        ("combined", "/login"),
        ("split", "/training/login"),
        ("split", "/prediction/login"),
        ("lite", "/login"),
        ("hub", "/hub/login"),
    ],
)
def test_guesses_of_a_password_are_limited_whatever_headers_they_have(
    rendered: Rendered, overlay: str, page: str
) -> None:
    objects = rendered(overlay)
    for headers in ({}, {"Upgrade": "websocket"}, {"X-Forwarded-Port": "30001"}):
        route = route_of(objects, "POST", page, headers)
        assert {"name": "login-limit"} in route.get("middlewares", []), headers
    # A WebSocket is not tried again.
    if overlay == "combined":
        assert "middlewares" not in route_of(objects, "GET", "/api/kernels/1/channels", {"Upgrade": "WebSocket"})


def test_split_is_behind_the_ingress_under_a_path_each(rendered: Rendered) -> None:
    objects = rendered("split")
    check_values_of_the_cluster(objects)
    for name in ("training", "prediction"):
        server = container(objects, f"{name}-instance")
        assert server["args"] == [f"--ServerApp.base_url=/{name}/"]
        for probe in ("startupProbe", "readinessProbe"):
            assert server[probe]["httpGet"] == {"path": f"/{name}/login", "port": "http"}
        # While the NFS server has no power, Jupyter does not answer, and its kernels' computations wait.
        assert "livenessProbe" not in server
    for route in objects["IngressRoute", "jupyter"]["spec"]["routes"]:
        (service,) = route["services"]
        path = service["name"].removesuffix("-instance").replace("noop@internal", "")
        assert f"(`/{path}" in route["match"], route


def test_node_ports_of_split_lead_to_the_ingress_or_are_off(rendered: Rendered) -> None:
    """So that nothing answers by plain http beside it."""
    objects = rendered("split")
    for name in ("training", "prediction"):
        service = objects["Service", f"{name}-instance"]["spec"]
        assert service["type"] == "ClusterIP"
        assert service["ports"] == [{"name": "http", "port": 8888, "targetPort": "http"}]
    service = objects["Service", PORTS]["spec"]
    assert service["selector"]["app.kubernetes.io/name"] == "traefik"
    assert [(port["nodePort"], port["targetPort"]) for port in service["ports"]] == [
        (30000, "websecure"),
        (30001, "websecure"),
    ]
    without = rendered("split without node ports")
    assert set(objects) - set(without) == {("Service", PORTS)}


def internet(objects: Objects) -> tuple[list[Any], dict[str, Any]]:
    """Ways out of the namespace: all but the last one, and the internet."""
    *others, last = objects["NetworkPolicy", "default"]["spec"]["egress"]
    (peer,) = last["to"]
    assert set(last) == {"to"}
    return others, peer["ipBlock"]


@pytest.mark.parametrize("overlay", ["split", "combined", "lite"])
def test_every_pod_is_kept_from_other_networks_and_pods(overlay: str) -> None:
    objects = build(OVERLAYS / overlay)
    spec = objects["NetworkPolicy", "default"]["spec"]
    # An empty selector is every pod, those of Jobs too; no ingress is none.
    assert (spec["podSelector"], sorted(spec["policyTypes"])) == ({}, ["Egress", "Ingress"])
    assert "ingress" not in spec
    (names,), block = internet(objects)
    assert {port["port"] for port in names["ports"]} == {53}
    assert names["to"][0]["podSelector"]["matchLabels"] == {"k8s-app": "kube-dns"}
    denied = [ipaddress.ip_network(each) for each in block["except"]]

    def is_denied(address: str) -> bool:
        return any(ipaddress.ip_address(address) in network for network in denied)

    private = ("10.42.0.9", "10.43.0.1", "192.168.1.1", "172.20.0.1", "100.100.1.1", "169.254.169.254")
    assert [each for each in private if not is_denied(each)] == []
    assert [each for each in ("9.9.9.9", "198.51.100.1") if is_denied(each)] == []


@pytest.mark.parametrize("overlay", ["split", "combined", "lite"])
def test_what_serves_is_reached_on_its_port_and_jobs_are_not(overlay: str) -> None:
    objects = build(OVERLAYS / overlay)
    served = objects["NetworkPolicy", "served"]["spec"]
    assert served["podSelector"] == {"matchExpressions": [{"key": "app", "operator": "Exists"}]}
    for (kind, name), each in objects.items():
        if kind == "Deployment":
            assert "app" in each["spec"]["template"]["metadata"]["labels"], name
            ports = [port["containerPort"] for port in container(objects, name)["ports"]]
            assert [port["port"] for port in served["ingress"][0]["ports"]] == ports
    for job in ("training", "prediction", "report"):
        assert "app" not in build(JOBS / job)["Job", job]["spec"]["template"]["metadata"]["labels"]


def test_boards_with_public_addresses_are_no_part_of_the_internet(rendered: Rendered) -> None:
    objects = rendered("split with networks")
    every = internet(build(OVERLAYS / "split"))[1]["except"]
    assert internet(objects)[1]["except"] == [*every, "203.0.113.0/24"]


@pytest.mark.parametrize(("case", "pods"), [("hub", ["hub", "status"]), ("split", ["status"]), ("example", ["status"])])
def test_the_api_is_reached_at_the_servers_alone(rendered: Rendered, case: str, pods: list[str]) -> None:
    """Those of inventory/lab, and the addresses and port that their k3s_server_config has."""
    servers = [{"ipBlock": {"cidr": f"{address}/32"}} for address in ("10.77.0.11", "203.0.113.7")]
    policies = {name: each["spec"] for (kind, name), each in rendered(case).items() if kind == "NetworkPolicy"}
    found = {}
    for spec in policies.values():
        for rule in spec.get("egress", []):
            # Without a peer a rule is for any address.
            if "to" not in rule or "7443" in str(rule) or "6443" in str(rule):
                found[spec["podSelector"]["matchLabels"]["app.kubernetes.io/name"]] = rule
    assert found == {pod: {"to": servers, "ports": [{"protocol": "TCP", "port": 7443}]} for pod in pods}


def test_the_volume_says_which_board_it_is_of(rendered: Rendered) -> None:
    # Its address is that of pi-01 in inventory/lab.
    metadata = rendered("split")["PersistentVolume", "nfs"]["metadata"]
    assert metadata["annotations"] == {"edge-ai-cluster/nfs-host": "pi-01"}
    assert "annotations" not in rendered("split with another server")["PersistentVolume", "nfs"]["metadata"]


def test_policies_are_off_by_a_variable(rendered: Rendered) -> None:
    objects = rendered("split without policies")
    assert "NetworkPolicy" not in {kind for kind, _ in objects}
    assert ("ResourceQuota", "edge-ai") in objects


@pytest.mark.parametrize("overlay", ["split", "combined", "lite", "example"])
def test_overlay_fits_into_the_quota_of_its_namespace(overlay: str) -> None:
    """Beside three Jobs, and with a rollout that has all pods twice."""
    objects = build(OVERLAYS / overlay)
    units = {"Mi": 1, "Gi": 1024}
    hard = objects["ResourceQuota", "edge-ai"]["spec"]["hard"]
    for kind in ("requests", "limits"):
        used = 3 * 6 * 1024
        for each, name in objects:
            if each == "Deployment":
                memory = container(objects, name)["resources"][kind]["memory"]
                used += 2 * objects[each, name]["spec"]["replicas"] * int(memory[:-2]) * units[memory[-2:]]
        assert used <= int(hard[f"{kind}.memory"][:-2]) * units[hard[f"{kind}.memory"][-2:]]


def test_a_hub_talks_to_its_proxy_and_peoples_servers_alone(tmp_path: Path) -> None:
    kustomization = {"components": [os.path.relpath(ROOT / "k8s/components/hub-policies", tmp_path.resolve())]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    objects = build(tmp_path)

    def pods(selector: dict[str, Any]) -> str:
        (label,) = selector["matchLabels"].values()
        return str(label)

    reached: dict[str, set[tuple[str, int]]] = {}
    for spec in (each["spec"] for each in objects.values() if "ingress" in each["spec"]):
        reached[pods(spec["podSelector"])] = {
            (pods(peer["podSelector"]), port["port"])
            for rule in spec["ingress"]
            for peer in rule["from"]
            for port in rule["ports"]
        }
    assert reached == {
        "hub": {("proxy", 8081), ("singleuser-server", 8081)},
        "proxy": {("traefik", 8000), ("hub", 8001)},
        "singleuser-server": {("proxy", 8888), ("hub", 8888)},
    }


def test_lite_predicts_in_four_small_pods_behind_the_port_of_split(rendered: Rendered) -> None:
    objects = rendered("lite without ingress")
    training = {(kind, "training-instance") for kind in ("Deployment", "Service")}
    prediction = {
        ("Deployment", "prediction-lite"),
        ("Service", "prediction-instance"),
        ("ConfigMap", "prediction-server"),
    }
    assert set(objects) == COMMON | training | prediction
    deployment = objects["Deployment", "prediction-lite"]["spec"]
    pod, server = deployment["template"]["spec"], container(objects, "prediction-lite")
    assert (deployment["replicas"], pod["nodeSelector"]) == (4, {"role": "prediction"})
    assert server["image"] == "localhost/edge-ai/litert:8"
    assert container(objects, "training-instance")["image"] == "edge-ai/tensorflow-jupyter:7"
    label = {"app": "prediction-lite"}
    assert (
        deployment["selector"]["matchLabels"] == objects["Service", "prediction-instance"]["spec"]["selector"] == label
    )
    assert pod["topologySpreadConstraints"][0]["labelSelector"] == {"matchLabels": label}
    assert {mount["mountPath"] for mount in server["volumeMounts"] if mount.get("readOnly")} >= {"/books"}
    # A Service keeps its node port when the overlay is switched only if it is the same one.
    split = rendered("split without ingress")["Service", "prediction-instance"]["spec"]
    assert objects["Service", "prediction-instance"]["spec"]["ports"] == split["ports"]


def test_lite_has_its_jupyter_behind_the_ingress(rendered: Rendered) -> None:
    objects = rendered("lite")
    services = [each for route in objects["IngressRoute", "jupyter"]["spec"]["routes"] for each in route["services"]]
    assert {each["name"] for each in services} == {"training-instance"}
    # Nothing of Jupyter answers by plain http beside it; predictions do.
    assert objects["Service", "training-instance"]["spec"]["type"] == "ClusterIP"
    assert objects["Service", "prediction-instance"]["spec"]["type"] == "NodePort"


@pytest.fixture
def hub(rendered: Rendered) -> Objects:
    return rendered("hub")


def test_hub_and_proxy_run_on_the_board_with_the_database(hub: Objects) -> None:
    objects = hub
    for name in ("hub", "proxy"):
        pod = objects["Deployment", name]["spec"]
        assert container(objects, name)["image"] == "localhost/edge-ai/hub:9"
        labels = {"app.kubernetes.io/name": name}
        assert pod["selector"]["matchLabels"] == labels
        assert labels.items() <= pod["template"]["metadata"]["labels"].items()
        assert objects["Service", name]["spec"]["selector"] == labels
        # restricted
        assert pod["template"]["spec"]["securityContext"]["runAsNonRoot"]
        assert container(objects, name)["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        # By the Node's name alone: a node that others control may have the same label kubernetes.io/hostname.
        assert "nodeSelector" not in pod["template"]["spec"]
        (required,) = pod["template"]["spec"]["affinity"]["nodeAffinity"].values()
        assert required == {
            "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["pi-07"]}]}]
        }
    volume, claim = (
        objects["PersistentVolume", "hub-pi-07"]["spec"],
        objects["PersistentVolumeClaim", "hub-pi-07"],
    )
    (term,) = volume["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["pi-07"]}]
    assert (volume["claimRef"]["name"], claim["spec"]["volumeName"]) == ("hub-pi-07", "hub-pi-07")
    volumes = objects["Deployment", "hub"]["spec"]["template"]["spec"]["volumes"]
    assert volumes[0]["persistentVolumeClaim"]["claimName"] == "hub-pi-07"


def test_hub_has_users_secrets_and_settings_of_the_cluster(hub: Objects) -> None:
    objects = hub
    users = json.loads(b64decode(objects["Secret", "hub-users"]["data"]["users.json"]))
    assert users == PASSWORDS
    secrets = {name: b64decode(text) for name, text in objects["Secret", "hub-secrets"]["data"].items()}
    assert secrets == {"cookie_secret": b"c0", "proxy_token": b"t0"}
    configuration = objects["ConfigMap", "hub-config"]
    assert set(configuration["data"]) == {"jupyterhub_config.py", "logins.py", "settings.json"}
    assert json.loads(configuration["data"]["settings.json"]) == {
        "admins": ["bob"],
        "image": "edge-ai/tensorflow-jupyter:7",
        "memory_request_mb": 384,
        "memory_limit_mb": 700,
        "idle_timeout": 28800,
    }
    # Another user is no reason for the proxy to start again: it would interrupt all users.
    assert "hub-users" not in str(objects["Deployment", "proxy"])
    names = {source.get("secret", source.get("configMap"))["name"] for source in hub_sources(objects)}
    assert names == {
        each["metadata"]["name"]
        for each in (configuration, *(objects["Secret", n] for n in ("hub-users", "hub-secrets")))
    }


STATUS = {
    (kind, "status")
    for kind in ("ServiceAccount", "Role", "RoleBinding", "Service", "DaemonSet", "NetworkPolicy", "IngressRoute")
} | {
    ("NetworkPolicy", "status-api"),
    ("ClusterRole", "edge-ai-status"),
    ("ClusterRoleBinding", "edge-ai-status"),
    ("ConfigMap", "status-config"),
    ("ConfigMap", "status-overlay"),
    ("ConfigMap", "status-cluster"),
    ("Secret", "status-token"),
}


@pytest.mark.parametrize("overlay", ["split", "combined", "lite"])
def test_the_status_page_is_added_by_a_variable_and_changes_nothing_else(rendered: Rendered, overlay: str) -> None:
    objects = rendered(overlay)
    without = rendered(f"{overlay} without status page")
    assert set(objects) - set(without) == STATUS
    assert {each: objects[each] for each in without} == without
    # It is no way in of its own.
    assert not STATUS & set(rendered(f"{overlay} without ingress"))
    assert b64decode(objects["Secret", "status-token"]["data"]["token"]) == b"t0"


def status_pod(objects: Objects) -> dict[str, Any]:
    template: dict[str, Any] = objects["DaemonSet", "status"]["spec"]["template"]
    return template


def test_the_status_page_has_no_rights_on_boards_and_few_by_the_api(hub: Objects) -> None:
    spec = status_pod(hub)["spec"]
    (server,) = spec["containers"]
    # restricted
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["seccompProfile"]
    assert server["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "nodeSelector"} & set(spec)
    assert {kind for volume in spec["volumes"] for kind in volume} == {"name", "projected", "emptyDir"}
    # At most 150 MB on a board.
    assert server["resources"]["limits"] == {"memory": "128Mi"}
    for kind, name, resource in (("Role", "status", "pods"), ("ClusterRole", "edge-ai-status", "nodes")):
        assert hub[kind, name]["rules"] == [{"apiGroups": [""], "resources": [resource], "verbs": ["list"]}]
    # What stops the workload, and what looks for Jupyters, finds pods by this label.
    assert "app.kubernetes.io/part-of" not in status_pod(hub)["metadata"]["labels"]


def test_the_status_page_reads_what_was_made_for_it(hub: Objects) -> None:
    sources = status_pod(hub)["spec"]["volumes"][0]["projected"]["sources"]
    names = {source[kind]["name"] for source in sources for kind in ("configMap", "secret") if kind in source}
    made = {hub[each]["metadata"]["name"] for each in STATUS if each[0] in ("ConfigMap", "Secret")}
    assert names == made | {"kube-root-ca.crt"}


def test_the_status_page_is_reached_by_the_ingress_alone(hub: Objects) -> None:
    assert hub["Service", "status"]["spec"].get("type") is None
    assert "app" not in status_pod(hub)["metadata"]["labels"]
    spec = hub["NetworkPolicy", "status"]["spec"]
    assert sorted(spec["policyTypes"]) == ["Egress", "Ingress"]
    (reached,) = spec["ingress"]
    assert [each["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for each in reached["from"]] == [
        "traefik",
        "status",
    ]
    # What every pod of a board may ask of this board is for the other boards' pods: the Ingress leads past it.
    (route,) = hub["IngressRoute", "status"]["spec"]["routes"]
    assert set(re.findall("Path.`([^`]+)`", route["match"])) == {"/", "/hub/status", "/metrics", "/ingress-ca.crt"}
    assert "PathPrefix" not in route["match"]
    # The hub answers it too.
    (more,) = hub["NetworkPolicy", "hub-status"]["spec"]["ingress"]
    assert more["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "status"}}}]


@pytest.mark.parametrize("overlay", ["split", "combined", "lite", "example", "hub"])
def test_cookies_reach_the_status_page_on_traefiks_own_board_alone(rendered: Rendered, overlay: str) -> None:
    """A server. Without nativeLB Traefik would choose among the pods of all boards, whatever the Service says."""
    objects = rendered("hub without users" if overlay == "hub" else overlay)
    policies = {
        name: each["spec"].get("internalTrafficPolicy") for (kind, name), each in objects.items() if kind == "Service"
    }
    assert {name for name, policy in policies.items() if policy == "Local"} == {"status"}
    routes = [each for (kind, _), one in objects.items() if kind == "IngressRoute" for each in one["spec"]["routes"]]
    led_to = [each for route in routes for each in route["services"]]
    assert {each.get("nativeLB", False) for each in led_to if each["name"] == "status"} == {True}
    assert not [each for each in led_to if each["name"] != "status" and "nativeLB" in each]


@pytest.mark.parametrize("overlay", ["split", "combined", "lite", "hub"])
def test_the_status_page_asks_servers_of_its_overlay(rendered: Rendered, overlay: str) -> None:
    objects = rendered("hub without users" if overlay == "hub" else overlay)
    settings = json.loads(objects["ConfigMap", "status-overlay"]["data"]["overlay.json"])
    for url in settings["logins"]:
        name, port = url.split("/")[2].split(":")
        assert objects["Service", name]["spec"]["ports"][0]["port"] == int(port)
        if overlay != "hub":
            probe = container(objects, name)["readinessProbe"]["httpGet"]["path"]
            assert url.endswith(probe.replace("/login", "/api/me"))


def test_lite_has_its_status_page_from_the_small_image(rendered: Rendered) -> None:
    """Boards that only predict have no other one."""
    objects = rendered("lite")
    assert status_pod(objects)["spec"]["containers"][0]["image"] == "localhost/edge-ai/litert:8"
    assert container(objects, "training-instance")["image"] == "edge-ai/tensorflow-jupyter:7"


def test_the_status_page_has_the_ca_and_ends_of_certificates(rendered: Rendered) -> None:
    """Any certificates; none with --check of the first run, and no CA beside a pair of one's own."""

    def shown(case: str) -> tuple[dict[str, Any], str]:
        found = rendered(case)["ConfigMap", "status-cluster"]["data"]
        return json.loads(found["cluster.json"]), found["ca.crt"]

    assert shown("split") == ({"name": "home", "certificates": [], "fingerprint": ""}, "")
    settings, certificate = shown("split with certificates")
    assert certificate.strip() == own_certificates()[1].strip()
    assert [each["name"] for each in settings["certificates"]] == ["https", "CA of the cluster"]
    assert re.fullmatch("([0-9A-F]{2}:){31}[0-9A-F]{2}", settings["fingerprint"])
    settings, certificate = shown("split with own certificates")
    assert (certificate, settings["fingerprint"]) == ("", "")
    assert [each["name"] for each in settings["certificates"]] == ["https"]


def hub_sources(objects: Objects) -> list[dict[str, Any]]:
    volumes = objects["Deployment", "hub"]["spec"]["template"]["spec"]["volumes"]
    sources: list[dict[str, Any]] = next(each["projected"]["sources"] for each in volumes if "projected" in each)
    return sources


def test_hub_is_reached_by_the_ingress_alone_and_logins_are_limited(hub: Objects) -> None:
    objects = hub
    assert {each["spec"].get("type") for (kind, _), each in objects.items() if kind == "Service"} == {None}
    login, rest = objects["IngressRoute", "jupyter"]["spec"]["routes"]
    assert "/hub/login" in login["match"] and login["middlewares"] == [{"name": "login-limit"}]
    assert {each["name"] for route in (login, rest) for each in route["services"]} == {"proxy"}


def test_hub_may_make_pods_and_read_boards_and_no_more(hub: Objects) -> None:
    objects = hub
    rights = [
        (kind, resource, verb)
        for kind in ("Role", "ClusterRole")
        for (found, _), each in objects.items()
        if found == kind
        for rule in each["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
    assert {(kind, resource) for kind, resource, _ in rights} == {
        ("Role", "pods"),
        ("Role", "events"),
        ("ClusterRole", "nodes"),
    }
    assert {verb for kind, _, verb in rights if kind == "ClusterRole"} == {"list"}


def test_pods_say_for_which_login_they_run_as_the_role_says_it(hub: Objects) -> None:
    """By it the role ends those of people who are gone or have another password."""
    logins: Any = programs.load(OVERLAYS / "hub/logins.py")
    shown = hub["Namespace", "edge-ai"]["metadata"]["labels"]["app.kubernetes.io/managed-by"]
    assert shown == "_".join(logins.label(name, stored.removeprefix("argon2:")) for name, stored in PASSWORDS.items())


def example(folder: Path) -> Path:
    """The example as README has it copied: to a place outside the repository."""
    own = folder / "home"
    shutil.copytree(OVERLAYS / "example", own)
    for each in (own, own / "ingress", own / "status"):
        kustomization = each / "kustomization.yaml"
        split = os.path.relpath(OVERLAYS / "split", own.resolve())
        kustomization.write_text(kustomization.read_text().replace("../split", split))
    return own


def check_example(objects: Objects) -> None:
    assert objects["Deployment", "prediction-instance"]["spec"]["replicas"] == 2
    assert objects["Deployment", "training-instance"]["spec"]["replicas"] == 1
    assert container(objects, "training-instance")["resources"]["limits"] == {"memory": "6Gi"}
    assert container(objects, "prediction-instance")["resources"]["limits"] == {"memory": "2Gi"}


def test_overlay_outside_the_repository_is_rendered_with_the_clusters_values(rendered: Rendered) -> None:
    for case, kinds in (("example without ingress", set()), ("example", {"IngressRoute", "Middleware"})):
        objects = rendered(case)
        check_values_of_the_cluster(objects)
        check_example(objects)
        assert {kind for kind, _ in objects} & {"IngressRoute", "Middleware"} == kinds
        assert (("DaemonSet", "status") in objects) == (case == "example")


def test_error_shows_the_path_on_the_control_node(tmp_path: Path) -> None:
    own = example(tmp_path)
    (own / "training.yaml").unlink()
    case = {"manifests_overlay": str(own), "case_secrets_dir": str(secrets(tmp_path))}
    done = kustomize.play(tmp_path, "manifests", OUTPUT, {"broken": case}, **SETTINGS)
    assert done.returncode == 2
    output = " ".join(done.stdout.split())
    assert f"kustomize cannot build {own} (manifests_overlay): " in output
    assert f" {own}/training.yaml" in output


def test_example_needs_no_ansible(tmp_path: Path) -> None:
    own = example(tmp_path)
    (own / "jupyter-password.hash").write_text("argon2:own")
    objects = build(own)
    check_example(objects)
    assert objects["PersistentVolume", "nfs"]["spec"]["nfs"]["server"] == "192.168.1.11"
    assert container(objects, "training-instance")["image"] == "edge-ai/tensorflow-jupyter:2"
    assert b64decode(objects["Secret", "jupyter-password"]["data"]["hashed_password"]) == b"argon2:own"


@pytest.mark.parametrize("name", ["split", "combined", "lite", "example", "hub"])
def test_there_is_no_default_password(name: str) -> None:
    assert build(OVERLAYS / name)["Secret", "jupyter-password"]["data"] == {"hashed_password": ""}


@pytest.mark.parametrize("name", ["training", "prediction", "report"])
def test_job_runs_on_the_boards_for_its_notebook(name: str) -> None:
    pod = build(JOBS / name)["Job", name]["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"][0] == name
    assert pod.get("nodeSelector") == (None if name == "report" else {"role": name})


def test_four_predictions_without_tensorflow_fit_on_a_small_board() -> None:
    pod = build(JOBS / "prediction-lite")["Job", "prediction"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "edge-ai/litert:1"
    assert container["args"] == ["prediction", "--profile=lite"]
    assert pod["nodeSelector"] == {"role": "prediction"}
    # A board of 2 GB with an agent of k3s has more than 1 GiB left.
    assert 4 * int(container["resources"]["limits"]["memory"].removesuffix("Mi")) <= 1024


def test_job_of_ones_own_has_other_values() -> None:
    container = build(JOBS / "example")["Job", "training"]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "edge-ai/tensorflow-jupyter:2"
    assert container["args"] == ["training", "--profile=fast"]
    assert container["resources"]["limits"] == {"memory": "6Gi"}
