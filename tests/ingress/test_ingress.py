"""Two replicas of one Jupyter behind one address of the cluster.

    molecule test -s ingress

The tests are steps: those of `split` and of `combined`, then the Ingress is taken away and made again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import time
from collections import Counter
from pathlib import Path

import pytest
import requests
import websocket
from kubernetes import client
from playwright.sync_api import Page, expect

from tests.support import browser
from tests.support.browser import chromium
from tests.support.cluster import CLUSTER, connect, kubernetes_api
from tests.support.plays import FAST, Plays, lab, unchanged
from tests.support.watch import NAMESPACE, core, ready_nodes, wait_until

COMBINED = (*FAST, "-e", "manifests_overlay=combined")
NONE = (*FAST, "-e", "k3s_ingress=none")
WORKLOAD = "playbooks/stages/workload.yml"
CHECK = ("--check",)
PORTS = {"training": 30000, "prediction": 30001}
BOARDS = CLUSTER.hosts("k3s_servers") + CLUSTER.hosts("k3s_agents")
CA = CLUSTER.path("cluster_secrets_dir") / "ingress-ca.crt"
NAME = "tensorflow-jupyter-rpi"
STICKY = "edge-ai"


def url(board: str, path: str = "/login", scheme: str = "https", port: int | None = None) -> str:
    return f"{scheme}://{CLUSTER.address(board)}{f':{port}' if port else ''}{path}"


def jupyter_password() -> str:
    return (CLUSTER.path("cluster_secrets_dir") / "jupyter-password").read_text().strip()


def visitor() -> requests.Session:
    """A browser that trusts the cluster's CA and no other."""
    session = requests.Session()
    session.verify = str(CA)
    session.trust_env = False
    return session


def log_in(session: requests.Session, board: str, password: str | None = None, path: str = "") -> int:
    """Status of a login by its form, which asks for a value of a cookie too."""
    session.get(url(board, f"{path}/login"), timeout=30)
    answer = session.post(
        url(board, f"{path}/login"),
        {
            "password": jupyter_password() if password is None else password,
            "_xsrf": session.cookies.get("_xsrf", path=f"{path}/"),
        },
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


def replica_of(page: Page) -> set[str]:
    """Value of the browser's cookie that leads to a replica."""
    return {cookie["value"] for cookie in page.context.cookies() if cookie["name"] == STICKY}


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
    plays.run("site", "site.yml", *FAST)
    unchanged(plays.run("site again", "site.yml", *FAST))
    for path in ("/training", "/prediction"):
        assert visitor().get(url("pi-02", f"{path}/api/contents"), timeout=30).status_code == 403
        session = visitor()
        assert log_in(session, "pi-02", path=path) == 302
        # One login for both, and for the status page.
        for other in ("/training/api/contents", "/prediction/api/contents", "/"):
            assert session.get(url("pi-02", other), timeout=30).status_code == 200
    for name, port in PORTS.items():
        at_port = f"{url('pi-03', '', port=port)}/{name}"
        root = visitor().get(url("pi-03", "/", port=port), timeout=30, allow_redirects=False)
        assert root.headers["location"] == f"{at_port}/"
        assert visitor().get(f"{at_port}/login", timeout=30).status_code == 200
    unchanged(plays.run("check", "playbooks/check.yml", *FAST))


def test_01_combined_has_two_replicas_under_one_address(plays: Plays) -> None:
    plays.run("site, combined", "site.yml", *COMBINED)
    unchanged(plays.run("site, combined, again", "site.yml", *COMBINED))
    unchanged(plays.run("site, combined, --check", "site.yml", *COMBINED, *CHECK))
    unchanged(plays.run("check, combined", "playbooks/check.yml", *COMBINED))
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


def test_06_a_browser_finds_its_kernel_again(tmp_path: Path) -> None:
    """With two replicas: its WebSockets go where its requests go."""
    with chromium(tmp_path, CA) as page:
        page.goto(url("pi-01", "/lab"))
        browser.log_in(page, jupyter_password())
        browser.lab_is_there(page)
        browser.new_notebook(page)
        browser.run(page, "kept = 41")
        browser.run(page, "print('kept', kept)")
        expect(browser.printed(page, "kept 41")).to_be_visible()
        replica = replica_of(page)
        for answer in (42, 43):
            page.reload()
            browser.lab_is_there(page)
            assert replica_of(page) == replica, "another replica, which has not the kernel, answers this browser"
            browser.kernel_is_idle(page)
            browser.run(page, "kept += 1; print('now', kept)")
            expect(browser.printed(page, f"now {answer}")).to_be_visible()
        browser.clean(page, "/")


def test_07_guesses_of_the_password_are_limited_and_nothing_else() -> None:
    session, guesser = visitor(), visitor()
    # Guesses of the tests before count too.
    statuses = [log_in(guesser, "pi-01", f"guess {number}") for number in range(30)]
    assert set(statuses) == {401, 429}
    assert statuses[-1] == 429
    # Not by the route for WebSockets either.
    guesser.headers["Upgrade"] = "websocket"
    assert log_in(guesser, "pi-01", "guess") == 429
    assert session.get(url("pi-01"), timeout=30).status_code == 200
    assert log_in(visitor(), "pi-02") == 302, "no password was guessed at this board's address"
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
    """An agent that runs a replica."""
    victims = {value: board for value, (_, board) in replicas().items() if board not in CLUSTER.hosts("k3s_servers")}
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


def test_11_site_takes_the_ingress_away(plays: Plays) -> None:
    plays.run("site without an Ingress", "site.yml", *NONE)
    unchanged(plays.run("site without an Ingress again", "site.yml", *NONE))
    unchanged(plays.run("check without an Ingress", "playbooks/check.yml", *NONE))
    services = core().list_namespaced_service("kube-system").items
    assert not {"traefik", "jupyter-node-ports"} & {service.metadata.name for service in services}
    for port in PORTS.values():
        assert visitor().get(url("pi-01", "/login", "http", port), timeout=30).status_code == 200


def test_12_site_gives_it_back(plays: Plays) -> None:
    for each in CA.parent.glob("ingress*"):
        each.unlink()
    plays.run("site with an Ingress, --check, before there is a certificate", "site.yml", *FAST, *CHECK)
    assert not list(CA.parent.glob("ingress*"))
    plays.run("site with an Ingress", "site.yml", *FAST)
    unchanged(plays.run("site with an Ingress again", "site.yml", *FAST))
    unchanged(plays.run("check with an Ingress", "playbooks/check.yml", *FAST))
    for name, port in PORTS.items():
        assert visitor().get(url("pi-01", f"/{name}/login"), timeout=30).status_code == 200
        assert visitor().get(url("pi-02", f"/{name}/login", port=port), timeout=30).status_code == 200
        assert visitor().get(url("pi-02", "/", "http", port), timeout=30).status_code == 404


def test_13_node_ports_are_off_by_variable(plays: Plays) -> None:
    without = (*FAST, "-e", "manifests_node_ports=false")
    plays.run("no node ports", WORKLOAD, *without)
    unchanged(plays.run("no node ports, again", WORKLOAD, *without))
    for port in PORTS.values():
        with pytest.raises(requests.ConnectionError):
            visitor().get(url("pi-01", "/", port=port), timeout=30)
    assert visitor().get(url("pi-01", "/training/login"), timeout=30).status_code == 200


def kernels(session: requests.Session, board: str = "pi-01") -> list[str]:
    answer = session.get(url(board, "/training/api/kernels"), timeout=30)
    return [each["id"] for each in answer.json()]


def with_a_kernel(board: str = "pi-01") -> requests.Session:
    """Someone who has started a kernel, and looks at it no more."""
    session = visitor()
    wait_until("a login", 60, lambda: log_in(session, board, path="/training") == 302)
    token = {"X-XSRFToken": session.cookies.get("_xsrf", path="/training/")}
    made = session.post(url(board, "/training/api/kernels"), json={}, headers=token, timeout=60)
    assert made.status_code == 201, made.text
    assert kernels(session, board) == [made.json()["id"]]
    return session


def test_14_open_kernels_are_reported_before_a_run(plays: Plays) -> None:
    """The way back from test_13 has new pods: there is no other kernel."""
    plays.run("node ports", WORKLOAD, *FAST)
    with_a_kernel()
    step = plays.run("run beside a kernel", "playbooks/experiment.yml", *FAST, "-e", "notebooks_rerun=true")
    assert re.search(r"Jupyter on pi-02 has 1 open kernel\s+with \d+ MB, 0 of them computing", step.output), step.output


def test_15_kernels_that_nobody_uses_end(plays: Plays) -> None:
    plays.run("short time for idle kernels", WORKLOAD, *FAST, "-e", "manifests_idle_timeout=20")
    session = with_a_kernel()
    wait_until("the kernel has ended", 90, lambda: not kernels(session))
    plays.run("usual time for idle kernels", WORKLOAD, *FAST)


def test_16_the_status_page_is_off_by_variable(plays: Plays) -> None:
    without = (*FAST, "-e", "manifests_status_page=false")
    plays.run("no status page", WORKLOAD, *without)
    unchanged(plays.run("no status page, again", WORKLOAD, *without))
    root = visitor().get(url("pi-02", "/"), timeout=30, allow_redirects=False)
    assert root.headers["location"] == url("pi-02", "/training/")
    shown = functools.partial(core().list_namespaced_pod, NAMESPACE, label_selector="app.kubernetes.io/name=status")
    wait_until("its pods have ended", 60, lambda: not shown().items)
    rights = client.RbacAuthorizationV1Api(kubernetes_api()).list_cluster_role().items
    assert "edge-ai-status" not in {each.metadata.name for each in rights}
    plays.run("status page", WORKLOAD, *FAST)
    unchanged(plays.run("status page, again", WORKLOAD, *FAST))
    unchanged(plays.run("status page, --check", WORKLOAD, *FAST, *CHECK))
    wait_until("the page is there", 60, lambda: visitor().get(url("pi-02", "/"), timeout=30).status_code == 403)


COUNTED = "counted.txt"
COUNT = f"""
import time
with open("/books/{COUNTED}", "a") as file:
    for number in range(10_000):
        print(number, file=file, flush=True)
        time.sleep(1)
"""


def execute(session: requests.Session, board: str, kernel: str, code: str) -> None:
    """Have a kernel run code, and do not wait for it."""
    socket = websocket.create_connection(
        url(board, f"/training/api/kernels/{kernel}/channels", "wss"),
        cookie="; ".join(f"{each.name}={each.value}" for each in session.cookies),
        sslopt={"ca_certs": str(CA)},
        timeout=60,
    )
    header = {"msg_id": "count", "msg_type": "execute_request", "username": "", "session": "count", "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
    message = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}
    socket.send(json.dumps(message))
    # Its first answer says that it was taken.
    socket.recv()
    socket.close()


def counted() -> int:
    """How far the computation has come, by its file in the export."""
    return int(connect("pi-01").run(f"tail -n 1 /srv/books/{COUNTED}").stdout or 0)


def containers() -> dict[str, int]:
    """How often each container of the workload was started, by its pod."""
    pods = core().list_namespaced_pod(NAMESPACE, _request_timeout=10).items
    return {
        f"{pod.metadata.name} {each.name}": each.restart_count
        for pod in pods
        if pod.spec.node_name != "pi-01"
        for each in pod.status.container_statuses or []
    }


def test_17_the_server_without_power_ends_no_computation() -> None:
    """Its board is the NFS server too: who reads or writes there waits for it."""
    session = with_a_kernel("pi-02")
    (kernel,) = kernels(session, "pi-02")
    execute(session, "pi-02", kernel, COUNT)
    wait_until("it computes", 60, lambda: counted() > 3)
    before = containers()
    lab("power", "off", "--hard", "pi-01")
    # As an open page does: it looks for changed files.
    statuses: Counter[str] = Counter()
    end = time.monotonic() + 180
    while time.monotonic() < end:
        try:
            statuses[str(session.get(url("pi-02", "/training/api/contents"), timeout=10).status_code)] += 1
        except requests.Timeout:
            statuses["none within 10 s"] += 1
        except requests.ConnectionError:
            statuses["no connection"] += 1
        time.sleep(2)
    lab("power", "on", "pi-01")
    begun = time.monotonic()
    wait_until("pi-01 is ready", 300, lambda: ready_nodes()["pi-01"])
    ready = time.monotonic() - begun
    wait_until("Jupyter answers", 240, lambda: kernels(session, "pi-02") == [kernel])
    print(f"the server was off for 180 s: {dict(statuses)}; ready after {ready:.0f} s, "
          f"Jupyter after {time.monotonic() - begun:.0f} s")  # fmt: skip
    number = counted()
    wait_until("it computes again", 180, lambda: counted() > number)
    assert containers() == before
    connect("pi-01").check_output(f"rm /srv/books/{COUNTED}")
