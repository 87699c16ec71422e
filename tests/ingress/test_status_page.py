"""The status page, as a user with a phone sees it, and as a Prometheus reads it.

    pytest -x -s tests/ingress/test_status_page.py

The tests are steps of one visit. They need a finished cluster with the overlay split and its Ingress, as site.yml
makes it; the last one switches a board off. What they see is in results/browser.
"""

from __future__ import annotations

import hashlib
import re
import ssl
import time
from collections.abc import Iterator

import pytest
import requests
from kubernetes import client
from kubernetes.stream import stream
from playwright.sync_api import Page, expect

from tests.support.browser import SHOTS, chromium, log_in, show
from tests.support.cluster import CLUSTER, connect, kubernetes_api
from tests.support.plays import lab
from tests.support.watch import NAMESPACE, core, ready_nodes, wait_until

BOARDS = [*CLUSTER.hosts("k3s_servers"), *CLUSTER.hosts("k3s_agents")]
URL = f"https://{CLUSTER.address(BOARDS[0])}"
SECRETS = CLUSTER.path("cluster_secrets_dir")
CA = SECRETS / "ingress-ca.crt"
PHONE = {"width": 390, "height": 844}
MEMORY = 150_000_000
"""Bytes on one board."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("home"), CA) as page:
        page.set_viewport_size(PHONE)
        yield page


def get(path: str, url: str = URL, **headers: str) -> requests.Response:
    session = requests.Session()
    session.trust_env = False
    return session.get(url + path, headers=headers, verify=str(CA), timeout=30, allow_redirects=False)


def metrics() -> dict[str, float]:
    token = (SECRETS / "status-token").read_text().strip()
    answer = get("/metrics", Authorization=f"Bearer {token}")
    assert answer.status_code == 200, answer.text[:1000]
    samples = (line.rpartition(" ") for line in answer.text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


def test_01_without_a_login_it_shows_the_ca_and_where_to_log_in(page: Page) -> None:
    # A cluster that was restored a moment ago may not have its Ingress yet.
    wait_until("the page answers", 120, lambda: get("/").status_code == 403)
    answer = page.goto(f"{URL}/")
    assert answer
    assert answer.status == 403
    text = page.inner_text("body")
    assert not [board for board in BOARDS if board in text]
    assert hashlib.sha256(ssl.PEM_cert_to_DER_cert(CA.read_text())).digest().hex(":").upper() in text
    assert get("/ingress-ca.crt").text.strip() == CA.read_text().strip()
    show(page, "status-login")


def test_02_a_wrong_cookie_is_no_login() -> None:
    forged = f"edge-ai-login=2|1:0|10:{time.time():.0f}|13:edge-ai-login|4:e30=|{64 * '0'}"
    for cookie in (forged, "edge-ai-login=x", 9000 * "x"):
        assert get("/", Cookie=cookie).status_code == 403


def test_03_the_login_of_jupyter_shows_every_board(page: Page) -> None:
    page.get_by_role("link", name="Jupyter for training").click()
    log_in(page, (SECRETS / "jupyter-password").read_text().strip())
    page.wait_for_url(re.compile("/training/lab"))
    page.goto(f"{URL}/")
    expect(page.get_by_text(f"{len(BOARDS)} of {len(BOARDS)} boards are ready")).to_be_visible()
    for board in BOARDS:
        card = page.locator("section", has=page.get_by_role("heading", name=board, exact=True))
        for value in ("load", "memory", "disk"):
            expect(card.get_by_text(value, exact=True)).to_be_visible()
    expect(page.get_by_text("training-instance")).to_be_visible()
    expect(page.get_by_text(re.compile(r"Kubernetes. API"))).to_be_visible()
    # A phone shows all of it without scrolling sideways.
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.screenshot(path=SHOTS / "status-phone.png", full_page=True)
    page.set_viewport_size({"width": 1280, "height": 800})
    page.screenshot(path=SHOTS / "status-wide.png", full_page=True)


def test_04_the_last_run_and_its_report_are_shown(page: Page) -> None:
    expect(page.get_by_role("row", name=re.compile("training-fast.*done"))).to_be_visible()
    page.get_by_role("link", name="Report of the last run").click()
    expect(page.get_by_role("heading", name="timings of the notebooks")).to_be_visible()
    assert "/training/files/runs/" in page.url
    show(page, "status-report")


def test_05_one_login_is_enough_for_both_jupyters(page: Page) -> None:
    answer = page.goto(f"{URL}/prediction/api/me")
    assert answer
    assert answer.status == 200


def test_06_metrics_are_the_boards_and_need_the_token() -> None:
    assert get("/metrics").status_code == 401
    assert get("/metrics", Authorization="Bearer x").status_code == 401
    found = metrics()
    for board in BOARDS:
        assert found[f'edge_ai_board_ready{{board="{board}"}}'] == 1
        kilobytes = int(connect(board).check_output("awk '/^MemTotal/ {print $2}' /proc/meminfo"))
        assert found[f'node_memory_MemTotal_bytes{{board="{board}"}}'] == 1024 * kilobytes
        booted = int(connect(board).check_output("awk '/^btime/ {print $2}' /proc/stat"))
        assert abs(found[f'node_boot_time_seconds{{board="{board}"}}'] - booted) < 2
        size = int(
            connect(board).check_output(
                "df --block-size=1 --output=used,avail /var/lib/rancher/k3s | awk 'NR > 1 {print $1 + $2}'"
            )
        )
        assert found[f'node_filesystem_size_bytes{{board="{board}",mountpoint="/"}}'] == pytest.approx(size, rel=0.01)


def counted(file: str) -> dict[str, int]:
    """The number in a file of the page's pod on each board."""
    call = client.CoreV1Api(kubernetes_api()).connect_get_namespaced_pod_exec
    return {
        pod.spec.node_name: int(
            stream(call, pod.metadata.name, NAMESPACE, command=["cat", file], stdout=True, stderr=True)
        )
        for pod in core().list_namespaced_pod(NAMESPACE, label_selector="app.kubernetes.io/name=status").items
    }


def test_07_it_has_little_memory_on_every_board() -> None:
    peaks = counted("/sys/fs/cgroup/memory.peak")
    assert sorted(peaks) == sorted(BOARDS)
    for board, peak in peaks.items():
        print(f"{board}: {peak / 1e6:.0f} MB at most")
        assert peak < MEMORY


def test_08_what_browsers_send_reaches_no_agent() -> None:
    """Whichever board's address they ask."""
    before = counted("/sys/class/net/eth0/statistics/rx_bytes")
    times, sent = 20, 8000
    for board in BOARDS:
        for _ in range(times):
            assert get("/", f"https://{CLUSTER.address(board)}", X=sent * "x").status_code == 403
    after = counted("/sys/class/net/eth0/statistics/rx_bytes")
    received = {board: after[board] - before[board] for board in BOARDS}
    print(f"bytes that each board's pod received: {received}")
    in_all = times * sent * len(BOARDS)
    servers = CLUSTER.hosts("k3s_servers")
    assert sum(received[board] for board in servers) > in_all
    # Probes of the kubelet are what there is else.
    assert all(received[board] < in_all / 20 for board in BOARDS if board not in servers)


def test_09_notebooks_do_not_reach_it() -> None:
    (jupyter,) = core().list_namespaced_pod(NAMESPACE, label_selector="app=training-instance").items
    call = client.CoreV1Api(kubernetes_api()).connect_get_namespaced_pod_exec
    (pod, *_) = core().list_namespaced_pod(NAMESPACE, label_selector="app.kubernetes.io/name=status").items
    command = ["python", "-c", "import socket,sys; socket.create_connection((sys.argv[1], 8888), 3)", pod.status.pod_ip]
    said = stream(call, jupyter.metadata.name, NAMESPACE, command=command, stdout=True, stderr=True)
    assert re.search("timed out|refused", said), said


@pytest.mark.extended
def test_10_a_board_without_power_is_shown_as_such_by_the_others(page: Page) -> None:
    (jupyter,) = core().list_namespaced_pod(NAMESPACE, label_selector="app=training-instance").items
    spared = {jupyter.spec.node_name, BOARDS[0], *CLUSTER.hosts("k3s_servers")}
    victim = next(board for board in BOARDS if board not in spared)
    lab("power", "off", "--hard", victim)
    begun = time.monotonic()
    longest = 0.0
    card = page.locator("section.wrong", has=page.get_by_role("heading", name=victim, exact=True))

    def shown() -> bool:
        nonlocal longest
        asked = time.monotonic()
        answer = page.goto(f"{URL}/")
        longest = max(longest, time.monotonic() - asked)
        assert answer
        assert answer.status == 200
        return card.is_visible()

    wait_until("the page says that the board is not there", 120, shown)
    print(f"shown after {time.monotonic() - begun:.0f} s, the longest page took {longest:.1f} s")
    assert longest < 15
    page.screenshot(path=SHOTS / "status-board-off.png", full_page=True)
    wait_until("the Node is not ready", 120, lambda: not ready_nodes()[victim])
    wait_until("the page says so", 30, lambda: shown() and "is not ready" in card.inner_text())
    assert metrics()[f'edge_ai_board_ready{{board="{victim}"}}'] == 0
    lab("power", "on", victim)
    wait_until(f"{victim} is ready", 240, lambda: ready_nodes()[victim])
    load = f'node_load1{{board="{victim}"}}'
    wait_until("the board says how it is", 240, lambda: load in metrics())
