"""The overlay hub as its users see it: logins, boards to choose from, and what runs in a pod of theirs."""

from __future__ import annotations

import json
import time

import requests
from kubernetes import client
from kubernetes.stream import stream

from tests.support.cluster import CLUSTER, kubernetes_api
from tests.support.plays import FAST
from tests.support.watch import NAMESPACE, core, wait_until

SECRETS = CLUSTER.path("cluster_secrets_dir")
SERVER = CLUSTER.hosts("k3s_servers")[0]
USERS = [f"user-{number}" for number in range(1, 11)]
HOME_MB = 64
STARTED_S = 600
"""Ten start at once on virtual boards."""


def overlay(users: list[str], **more: object) -> tuple[str, ...]:
    """Options for the overlay with these users, the first of them an admin, and pods of which a board holds five."""
    values = {
        "manifests_overlay": "hub",
        "manifests_hub_users": users,
        "manifests_hub_admins": users[:1],
        "manifests_hub_memory_request_mb": 200,
        "manifests_hub_memory_limit_mb": 500,
        "nfs_server_home_limit_mb": HOME_MB,
        **more,
    }
    return (*FAST, "-e", f"'{json.dumps(values)}'")


def url(path: str) -> str:
    return f"https://{CLUSTER.address(SERVER)}{path}"


def password(user: str) -> str:
    return (SECRETS / "hub" / user).read_text().strip()


def visitor() -> requests.Session:
    session = requests.Session()
    session.verify = str(SECRETS / "ingress-ca.crt")
    session.trust_env = False
    return session


def log_in(user: str, secret: str) -> tuple[requests.Session, int]:
    """A session, and the status of its login by the hub's form."""
    session = visitor()
    session.get(url("/hub/login"), timeout=60)
    answer = session.post(
        url("/hub/login"),
        params={"_xsrf": session.cookies.get("_xsrf", path="/hub/")},
        data={"username": user, "password": secret},
        timeout=60,
        allow_redirects=False,
    )
    return session, answer.status_code


def logged_in(user: str) -> requests.Session:
    """Logins of all together are limited: waits for its turn."""
    end = time.monotonic() + 180
    while time.monotonic() < end:
        session, status = log_in(user, password(user))
        if status == 302:
            return session
        assert status in (429, 502, 503), f"login of {user}: {status}"
        time.sleep(6)
    raise AssertionError(f"no login for {user} in 180 s")


def start(session: requests.Session, user: str, board: str) -> None:
    """Choose a board and start, as the form does; until the page of Jupyter is there."""
    # The hub asks every half minute whether a pod still runs.
    wait_until(
        f"{user} may choose {board}", 120, lambda: f"board-{board}" in session.get(url("/hub/spawn"), timeout=60).text
    )
    answer = session.post(
        url("/hub/spawn"),
        params={"_xsrf": session.cookies.get("_xsrf", path="/hub/")},
        data={"profile": f"board-{board}"},
        timeout=120,
    )
    assert answer.status_code == 200, answer.text[:2000]
    wait_until(f"Jupyter of {user}", STARTED_S, lambda: is_open(session, user))


def is_open(session: requests.Session, user: str) -> bool:
    answer = session.get(url(f"/user/{user}/lab"), timeout=60)
    return answer.status_code == 200 and answer.url == url(f"/user/{user}/lab")


def api(session: requests.Session, user: str, path: str, **more: object) -> requests.Response:
    """A request of the page to Jupyter: GET, or PUT with what is sent."""
    token = {"X-XSRFToken": session.cookies.get("_xsrf", path=f"/user/{user}/") or ""}
    method = "PUT" if more else "GET"
    return session.request(
        method, url(f"/user/{user}/api/{path}"), headers=token, timeout=60, allow_redirects=False, **more
    )  # type: ignore[arg-type]


def pods() -> dict[str, client.V1Pod]:
    """People's pods by user."""
    found = core().list_namespaced_pod(NAMESPACE, label_selector="component=singleuser-server").items
    return {pod.metadata.labels["hub.jupyter.org/username"]: pod for pod in found}


def inside(user: str, *command: str) -> str:
    """What a program prints in a user's pod, as that user could run it."""
    name = pods()[user].metadata.name
    call = client.CoreV1Api(kubernetes_api()).connect_get_namespaced_pod_exec
    return str(stream(call, name, NAMESPACE, command=list(command), stdout=True, stderr=True, stdin=False, tty=False))
