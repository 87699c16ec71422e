"""Two replicas of one Jupyter behind one address of the cluster.

    molecule test -s ingress

The tests are steps: the first one gives the cluster its Ingress, the last one takes it away.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter

import requests
from kubernetes import client

from tests.support.cluster import CLUSTER, kubernetes_api
from tests.support.plays import FAST, Plays, Step, lab
from tests.support.watch import NAMESPACE, core, ready_nodes, wait_until

SPLIT = (*FAST, "-e", "k3s_ingress=traefik")
INGRESS = (*SPLIT, "-e", "manifests_overlay=combined")
CHECK = ("--check",)
BOARDS = CLUSTER.hosts("k3s_servers") + CLUSTER.hosts("k3s_agents")
CA = CLUSTER.path("cluster_secrets_dir") / "ingress-ca.crt"
NAME = "tensorflow-jupyter-rpi"
STICKY = "edge-ai"


def unchanged(step: Step) -> None:
    assert not step.changed_hosts(), f"{step.command} changed something: {step.changed}"


def url(board: str, path: str = "/login", scheme: str = "https") -> str:
    return f"{scheme}://{CLUSTER.address(board)}{path}"


def visitor() -> requests.Session:
    """A browser that trusts the cluster's CA and no other."""
    session = requests.Session()
    session.verify = str(CA)
    session.trust_env = False
    return session


def log_in(session: requests.Session, board: str, password: str | None = None, path: str = "") -> int:
    """Status of a login by its form, which asks for a value of a cookie too."""
    session.get(url(board, f"{path}/login"), timeout=30)
    if password is None:
        password = (CLUSTER.path("cluster_secrets_dir") / "jupyter-password").read_text().strip()
    answer = session.post(
        url(board, f"{path}/login"),
        {"password": password, "_xsrf": session.cookies.get("_xsrf", path=f"{path}/")},
        timeout=30,
        allow_redirects=False,
    )
    return answer.status_code


def replicas() -> dict[str, tuple[str, str]]:
    """Pod and board of each replica that is not ending, by the value of the cookie that leads to it."""
    pods = core().list_namespaced_pod(NAMESPACE, label_selector=f"app={NAME}").items
    return {
        hashlib.sha256(f"http://{pod.status.pod_ip}:8888".encode()).hexdigest()[:16]: (
            pod.metadata.name,
            pod.spec.node_name,
        )
        for pod in pods
        if pod.status.pod_ip and not pod.metadata.deletion_timestamp
    }  # fmt: skip


def rolled_out(deployment: client.V1Deployment) -> bool:
    return bool(deployment.status.ready_replicas == deployment.spec.replicas == deployment.status.updated_replicas)


def jupyter_is_ready() -> bool:
    return rolled_out(client.AppsV1Api(kubernetes_api()).read_namespaced_deployment(NAME, NAMESPACE))


def ask(session: requests.Session, board: str, seconds: float) -> tuple[Counter[int], float]:
    """Statuses of a request each half second, and how long the longest one took."""
    statuses: Counter[int] = Counter()
    longest, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.monotonic()
        statuses[session.get(url(board, "/api/contents?content=0"), timeout=60).status_code] += 1
        longest = max(longest, time.monotonic() - begun)
        time.sleep(0.5)
    return statuses, longest


def test_00_split_has_both_servers_under_one_address(plays: Plays) -> None:
    plays.run("site with Traefik", "site.yml", *SPLIT)
    unchanged(plays.run("site with Traefik again", "site.yml", *SPLIT))
    assert visitor().get(url("pi-02", "/"), timeout=30, allow_redirects=False).headers["location"] == url(
        "pi-02", "/training/"
    )
    session = visitor()
    for path in ("/training", "/prediction"):
        assert session.get(url("pi-02", f"{path}/api/contents"), timeout=30).status_code == 403
        assert log_in(session, "pi-02", path=path) == 302
        assert session.get(url("pi-02", f"{path}/api/contents"), timeout=30).status_code == 200
    unchanged(plays.run("check", "playbooks/check.yml", *SPLIT))


def test_01_combined_has_two_replicas_under_one_address(plays: Plays) -> None:
    plays.run("site, combined", "site.yml", *INGRESS)
    unchanged(plays.run("site, combined, again", "site.yml", *INGRESS))
    unchanged(plays.run("site, combined, --check", "site.yml", *INGRESS, *CHECK))
    unchanged(plays.run("check, combined", "playbooks/check.yml", *INGRESS))
    traefik = core().read_namespaced_service("traefik", "kube-system")
    published = {each.ip for each in traefik.status.load_balancer.ingress}
    assert published == {CLUSTER.address(board) for board in BOARDS}


def test_02_every_board_answers_with_a_certificate_of_the_clusters_ca() -> None:
    for board in BOARDS:
        redirect = visitor().get(url(board, "/tree?x=1", "http"), timeout=30, allow_redirects=False)
        assert (redirect.status_code, redirect.headers["location"]) == (302, url(board, "/tree?x=1"))
        assert visitor().get(url(board), timeout=30).status_code == 200


def test_03_nothing_is_open_without_the_password() -> None:
    session = visitor()
    assert session.get(url("pi-01", "/api/contents"), timeout=30).status_code == 403
    assert log_in(session, "pi-01", "guess") == 401
    assert session.get(url("pi-01", "/api/contents"), timeout=30).status_code == 403


def test_04_a_session_stays_on_one_replica() -> None:
    session = visitor()
    assert log_in(session, "pi-02") == 302
    assert {cookie.secure for cookie in session.cookies if cookie.name != "_xsrf"} == {True}
    served = Counter(
        (session.get(url("pi-02", "/api/contents?content=0"), timeout=30).status_code, session.cookies[STICKY])
        for _ in range(200)
    )
    (((status, replica), count),) = served.items()
    assert (status, count) == (200, 200)
    assert replica in replicas()


def test_05_sessions_are_spread_over_both_replicas() -> None:
    counts: Counter[str] = Counter()
    for _ in range(20):
        session = visitor()
        assert session.get(url("pi-01"), timeout=30).status_code == 200
        counts[session.cookies[STICKY]] += 1
    assert set(counts) == set(replicas())
    assert min(counts.values()) >= 5, counts


def test_06_a_login_with_one_replica_is_a_login_with_the_other() -> None:
    session = visitor()
    assert log_in(session, "pi-03") == 302
    for replica in replicas():
        session.cookies.set(STICKY, replica, domain=CLUSTER.address("pi-03"))
        assert session.get(url("pi-03", "/api/contents?content=0"), timeout=30).status_code == 200
        assert session.cookies[STICKY] == replica


def test_07_guesses_of_the_password_are_limited_and_nothing_else() -> None:
    session, guesser = visitor(), visitor()
    # Guesses of the tests before count too.
    statuses = [log_in(guesser, "pi-01", f"guess {number}") for number in range(25)]
    assert set(statuses) == {401, 429}
    assert statuses[-1] == 429
    assert session.get(url("pi-01"), timeout=30).status_code == 200
    wait_until("logins are possible again", 60, lambda: log_in(visitor(), "pi-01") == 302)


def test_08_the_death_of_a_replica_costs_no_login() -> None:
    session = visitor()
    wait_until("a login", 60, lambda: log_in(session, "pi-01") == 302)
    pod, _ = replicas()[session.cookies[STICKY]]
    core().delete_namespaced_pod(pod, NAMESPACE, grace_period_seconds=0)
    statuses, longest = ask(session, "pi-01", 30)
    print(f"a replica failed: {dict(statuses)}, the longest request {longest:.1f} s")
    assert set(statuses) == {200}
    assert longest < 10
    wait_until("both replicas are ready", 300, jupyter_is_ready)


def test_09_a_rollout_fails_no_request(plays: Plays) -> None:
    session = visitor()
    wait_until("a login", 60, lambda: log_in(session, "pi-01") == 302)
    stamp = {"spec": {"template": {"metadata": {"annotations": {"edge-ai/restarted": str(time.time())}}}}}
    apps = client.AppsV1Api(kubernetes_api())
    apps.patch_namespaced_deployment(NAME, NAMESPACE, stamp)
    total: Counter[int] = Counter()
    end = time.monotonic() + 300
    while time.monotonic() < end:
        statuses, _ = ask(session, "pi-01", 5)
        total += statuses
        if jupyter_is_ready():
            break
    assert set(total) == {200}, total


def test_10_a_board_without_power_hangs_nobody() -> None:
    """One that runs a replica, and neither Traefik nor the server."""
    (traefik,) = core().list_namespaced_pod("kube-system", label_selector="app.kubernetes.io/name=traefik").items
    spared = {traefik.spec.node_name, *CLUSTER.hosts("k3s_servers")}
    victims = {value: board for value, (_, board) in replicas().items() if board not in spared}
    assert victims, f"replicas {replicas()}, Traefik on {traefik.spec.node_name}"
    value, board = next(iter(victims.items()))
    session = visitor()
    wait_until("a login", 60, lambda: log_in(session, "pi-01") == 302)
    session.cookies.set(STICKY, value, domain=CLUSTER.address("pi-01"))
    assert session.get(url("pi-01", "/api/contents?content=0"), timeout=30).status_code == 200
    lab("power", "off", "--hard", board)
    statuses, longest = ask(session, "pi-01", 90)
    print(f"{board} lost its power: {dict(statuses)}, the longest request {longest:.1f} s")
    assert longest < 10
    assert set(statuses) == {200}
    lab("power", "on", board)
    wait_until(f"{board} is ready", 240, lambda: ready_nodes()[board])
    wait_until("both replicas are ready", 300, jupyter_is_ready)


def test_11_site_takes_the_ingress_away_again(plays: Plays) -> None:
    plays.run("site without an Ingress", "site.yml", *FAST)
    unchanged(plays.run("site without an Ingress again", "site.yml", *FAST))
    services = core().list_namespaced_service("kube-system").items
    assert "traefik" not in {service.metadata.name for service in services}
