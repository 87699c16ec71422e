"""Who may log in to the hub, by names and hashes of a Secret."""

from __future__ import annotations

import asyncio
import builtins
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import argon2
import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPError
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from tests.support import programs
from tests.support.paths import ROOT

HASH = argon2.PasswordHasher(memory_cost=10240, time_cost=10, parallelism=8).hash("right")


@pytest.fixture(scope="module")
def logins() -> Any:
    return programs.load(ROOT / "k8s/overlays/hub/logins.py")


def test_only_the_right_password_of_a_known_user_is_right(logins: Any) -> None:
    assert logins.right(HASH, "right")
    for stored, password in ((HASH, "wrong"), (HASH, ""), (None, "right"), (None, "")):
        assert not logins.right(stored, password)


def test_a_long_password_is_tried_in_a_part_and_refused(logins: Any) -> None:
    long = "x" * logins.LONGEST
    stored = argon2.PasswordHasher(memory_cost=1024, time_cost=1).hash(long)
    assert logins.right(stored, long)
    assert not logins.right(stored, long + "x")


def test_whoever_is_unknown_costs_as_much_as_a_wrong_password(logins: Any) -> None:
    assert argon2.extract_parameters(logins.UNKNOWN) == argon2.extract_parameters(HASH)

    def processor(stored: str | None) -> float:
        begun = time.process_time()
        logins.right(stored, "wrong")
        return time.process_time() - begun

    assert min(processor(None) for _ in range(3)) > 0.3 * min(processor(HASH) for _ in range(3))


def test_hashes_are_those_of_jupyter_or_of_argon2_itself(logins: Any) -> None:
    assert logins.hashes({"alice": f"argon2:{HASH}\n", "bob": HASH}) == {"alice": HASH, "bob": HASH}
    for other in ("", "sha512:00:00", "right", "$argon2id$damaged"):
        with pytest.raises(ValueError, match="user alice"):
            logins.hashes({"alice": other})


def test_another_password_or_name_makes_other_sessions_and_labels(logins: Any) -> None:
    for make in (logins.session, logins.label):
        assert len({make(*each) for each in (("a", HASH), ("a", HASH + "x"), ("b", HASH))}) == 3
    # Kubernetes takes 63 characters.
    assert len(logins.label("a" * 32, HASH)) <= 63


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The hub's own configuration, without JupyterHub, which only the image has."""
    for name in ("jupyterhub_config.py", "logins.py"):
        shutil.copy(ROOT / "k8s/overlays/hub" / name, tmp_path)
    (tmp_path / "settings.json").write_text((ROOT / "k8s/overlays/hub/settings.json").read_text())
    (tmp_path / "users.json").write_text(json.dumps({"alice": HASH}))
    for name in ("cookie_secret", "proxy_token"):
        (tmp_path / name).write_text("00")
    for module, name in (
        ("jupyterhub.auth", "Authenticator"),
        ("kubespawner", "KubeSpawner"),
        ("sqlalchemy", "inspect"),
    ):
        stub = ModuleType(module)
        setattr(stub, name, type(name, (), {"reflectors": {}}))
        monkeypatch.setitem(sys.modules, module, stub)
    monkeypatch.setitem(sys.modules, "jupyterhub", ModuleType("jupyterhub"))
    monkeypatch.setattr(builtins, "get_config", MagicMock(), raising=False)
    monkeypatch.setitem(sys.modules, "logins", programs.load(tmp_path / "logins.py"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    config: Any = programs.load(tmp_path / "jupyterhub_config.py")
    config.FAILURE_DELAY = 0.0
    yield config
    HTTPServer.configure(None)


def kube_node(name: str, conditions: Any = ({"type": "Ready", "status": "True"},), **meta: Any) -> dict[str, Any]:
    status = {} if conditions is None else {"conditions": list(conditions)}
    return {"metadata": {"name": name, **meta}, "spec": {}, "status": status}


def choices(hub: Any, *nodes: dict[str, Any]) -> dict[str, Any]:
    """What users may choose from, by its name in a form: the API as the hub's client gives its answers."""
    text = json.dumps({"items": nodes}).encode()

    class Content:
        async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
            for start in range(0, len(text), size):
                yield text[start : start + size]

    async def list_node(*, _preload_content: bool) -> Any:
        assert not _preload_content, "the client would parse it"
        return SimpleNamespace(content=Content(), close=lambda: None)

    found = asyncio.run(hub.boards(SimpleNamespace(api=SimpleNamespace(list_node=list_node))))
    return {each["slug"]: each.get("kubespawner_override") for each in found}


def test_a_node_that_never_reported_keeps_nobody_from_choosing_another(hub: Any) -> None:
    assert list(choices(hub, kube_node("pi-01"), kube_node("pi-99", None))) == ["any", "board-pi-01"]


def test_boards_that_take_no_pods_are_no_choice(hub: Any) -> None:
    closed, tainted, preferred, lost = (kube_node(f"pi-0{number}") for number in range(2, 6))
    closed["spec"] = {"unschedulable": True}
    tainted["spec"] = {"taints": [{"key": "x", "effect": "NoSchedule"}]}
    preferred["spec"] = {"taints": [{"key": "x", "effect": "PreferNoSchedule"}]}
    lost["status"] = {"conditions": [{"type": "Ready", "status": "Unknown"}]}
    assert list(choices(hub, closed, tainted, preferred, lost)) == ["any", "board-pi-04"]


def test_what_a_kubelet_writes_of_its_node_keeps_nobody_from_starting(hub: Any, monkeypatch: Any) -> None:
    year = {"type": "Ready", "status": "True", "lastHeartbeatTime": "0000-01-01T00:00:00Z"}
    assert list(choices(hub, kube_node("pi-01"), kube_node("pi-05", [year]))) == ["any", "board-pi-01", "board-pi-05"]
    monkeypatch.setattr(hub, "NODES", 100_000)
    assert list(choices(hub, kube_node("pi-01"), kube_node("pi-05", annotations={"x": "x" * 200_000}))) == ["any"]


def test_a_board_is_chosen_by_the_name_that_no_other_node_can_take(hub: Any) -> None:
    # What a node says of itself: that of a board that others control says that it is another one.
    labels = {"kubernetes.io/hostname": "pi-01", "role": "training"}
    found = choices(hub, kube_node("pi-01", labels=labels), kube_node("pi-02", labels=labels))
    assert found["role-training"] == {"node_selector": {"role": "training"}}
    assert found["board-pi-01"] == {
        "node_affinity_required": [
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["pi-01"]}]},
        ]
    }
    # KubeSpawner keeps what was chosen the last time.
    last = {"node_selector": {"role": "x"}, "node_affinity_required": [1]}
    spawner = SimpleNamespace(user=SimpleNamespace(name="alice"), **last)
    hub.before_spawn(spawner)
    assert (spawner.node_selector, spawner.node_affinity_required) == ({}, [])


def test_passwords_are_taken_by_the_page_alone_whose_guesses_are_limited(hub: Any) -> None:
    authenticator = hub.ListedUsers()

    def asked(path: str, password: str = "right") -> str | None:
        handler = SimpleNamespace(request=SimpleNamespace(path=path))
        name: str | None = asyncio.run(authenticator.authenticate(handler, {"username": "alice", "password": password}))
        return name

    assert asked("/hub/login") == "alice"
    assert asked("/hub/login", "wrong") is None
    assert asked("/hub/api/users/alice/tokens") is None


def test_people_s_pods_cannot_guess_passwords_past_the_limit(hub: Any) -> None:
    """By a server as the hub's, which believes what proxies say of the client."""
    authenticator = hub.ListedUsers()
    names: list[str | None] = []

    class Login(RequestHandler):
        async def get(self) -> None:
            names.append(await authenticator.authenticate(self, {"username": "alice", "password": "right"}))

    async def log_in() -> None:
        server = HTTPServer(Application([("/hub/login", Login)]), xheaders=True)
        sockets = bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/hub/login"
        await AsyncHTTPClient().fetch(url, headers={"X-Forwarded-For": "192.168.1.7", "X-Real-Ip": "192.168.1.7"})
        server.stop()

    def pods(**status: str) -> SimpleNamespace:
        return SimpleNamespace(pods={"edge-ai/user-bob": {"metadata": {}, "status": status}, "edge-ai/user-eve": {}})

    for reflector in (
        pods(phase="Running", podIP="127.0.0.1"),
        # The proxy has an address that a pod had.
        pods(phase="Failed", podIP="127.0.0.1"),
        pods(phase="Running", podIP="10.42.0.9"),
        pods(phase="Running"),
    ):
        hub.BoardSpawner.reflectors = {"pods": reflector, "events": SimpleNamespace(events=[])}
        asyncio.run(log_in())
    assert names == [None, "alice", "alice", "alice"]


@pytest.mark.usefixtures("hub")
def test_the_hub_keeps_no_large_request_in_memory() -> None:
    """By a server that is made as JupyterHub makes its own, without a limit; also in parts of no announced sum."""
    received: list[int] = []

    class Login(RequestHandler):
        async def post(self) -> None:
            received.append(len(self.request.body))

    async def sent(length: int, parts: bool) -> int:
        server = HTTPServer(Application([("/hub/login", Login)]), xheaders=True)
        sockets = bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)

        async def produce(write: Any) -> None:
            for _ in range(length // 2**16):
                await write(b"x" * 2**16)

        body: dict[str, Any] = {"body_producer": produce} if parts else {"body": b"x" * length}
        url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/hub/login"
        try:
            return (await AsyncHTTPClient(force_instance=True).fetch(url, method="POST", **body)).code
        except (HTTPError, OSError):
            return 0
        finally:
            server.stop()

    for parts in (False, True):
        assert asyncio.run(sent(2**20, parts)) == 200
        assert asyncio.run(sent(2**21, parts)) != 200
    assert received == [2**20, 2**20]


def test_people_s_jupyters_take_what_one_without_a_hub_takes(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hashed_password").write_text(HASH)
    text = (ROOT / "k8s/base/shared/jupyter_server_config.py").read_text()
    (tmp_path / "jupyter_server_config.py").write_text(text.replace("/etc/jupyter-password", str(tmp_path)))
    config = MagicMock()
    monkeypatch.setattr(builtins, "get_config", lambda: config, raising=False)
    programs.load(tmp_path / "jupyter_server_config.py")
    limits = {key: getattr(config.ServerApp, key) for key in ("max_body_size", "max_buffer_size")}
    assert {f"--ServerApp.{key}={value}" for key, value in limits.items()} <= set(hub.c.Spawner.args)
    # What JupyterLab sends at once of a file that it does not upload in parts: 15 MiB, in base64.
    assert limits["max_body_size"] > 15 * 2**20 * 4 / 3
