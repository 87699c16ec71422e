"""The program of the status page: what it shows of boards and pods, what it believes, and to whom."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from tests.support import programs
from tests.support.paths import ROOT

FOLDER = ROOT / "k8s" / "components" / "status"
OVERLAYS = ("split", "combined", "lite", "hub")
NOW = 1_800_000_000.0
RUN, OLDER = "20261126T101500Z-8e4f81b7", "20261125T235959Z-ffffffff"
SCRIPT = '"><script>alert(1)</script>'
VALUES = {
    "load": 1.5, "processors": 4.0, "memory": 4e9, "memory_free": 1e9, "disk": 32e9, "disk_free": 8e9,
    "booted": NOW - 7200,
}  # fmt: skip


@pytest.fixture(scope="module")
def status() -> Any:
    return programs.load(FOLDER / "status.py")


def node(name: str, ready: str = "True", **spec: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready}, {"type": "DiskPressure", "status": "False"}]
    return {"metadata": {"name": name}, "spec": spec, "status": {"conditions": conditions}}


def pod(name: str, board: str = "pi-02", ready: str = "True", **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {key.replace("__", "/"): value for key, value in labels.items()}},
        "spec": {"nodeName": board},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    }


def step(job: str, run: str, began: int, state: dict[str, Any] | None = None) -> dict[str, Any]:
    """A pod of a notebook that began at a minute of the hour, and took ten seconds."""
    found = pod(f"{job}-x", ready="False")
    found["metadata"]["labels"] = {"edge-ai/run": run, "batch.kubernetes.io/job-name": job}
    times = {"startedAt": f"2026-11-26T10:{began:02}:00Z", "finishedAt": f"2026-11-26T10:{began:02}:10Z"}
    found["status"]["containerStatuses"] = [{"state": state or {"terminated": {"exitCode": 0, **times}}}]
    return found


@pytest.mark.parametrize(
    "answer",
    [
        "", "no JSON", "[1]", "null", '"x"', "[" * 100_000, '{"load": "1"}', '{"load": true}', '{"load": NaN}',
        '{"load": Infinity}', '{"load": -1}', '{"load": [1]}', '{"load": 1' + "0" * 400 + "}", '{"other": 1}',
    ],
)  # fmt: skip
def test_a_board_is_believed_numbers_alone(status: Any, answer: str) -> None:
    assert status.numbers(answer.encode()) == {}


def test_one_wrong_number_does_not_hide_the_others(status: Any) -> None:
    assert status.numbers(b'{"load": "<b>", "memory": 7, "x": 1}') == {"memory": 7.0}


def test_a_board_measures_itself_without_rights(status: Any, tmp_path: Path) -> None:
    found = status.board(tmp_path)
    assert status.numbers(json.dumps(found).encode()) == found
    assert {"load", "processors", "memory", "memory_free", "disk", "disk_free", "booted"} <= set(found)
    assert 0 < found["memory_free"] < found["memory"]
    assert 0 <= found["disk_free"] < found["disk"]
    assert 0 < found["booted"] < time.time()
    assert "under_voltage" not in found


def test_low_voltage_is_read_where_a_board_has_it(status: Any, tmp_path: Path) -> None:
    """As the kernel of Raspberry Pi OS shows it; a number says nothing about which sensor it is."""
    for name, alarm in (("cpu_thermal", None), ("rpi_volt", "1\n")):
        folder = tmp_path / f"hwmon-of-{name}"
        folder.mkdir()
        (folder / "name").write_text(name + "\n")
        if alarm:
            (folder / "in0_lcrit_alarm").write_text(alarm)
    assert status.board(tmp_path)["under_voltage"] == 1


def test_a_board_that_is_well_is_shown_with_its_values(status: Any) -> None:
    found = status.described(node("pi-02"), [pod("jupyter")], VALUES, NOW)
    assert found["problems"] == []
    assert found["bars"] == [
        ("load", "1.50 on 4", 0.375), ("memory", "3.0 of 4.0 GB", 0.75), ("disk", "24.0 of 32.0 GB", 0.75),
    ]  # fmt: skip
    assert (found["up"], found["temperature"], found["pods"]) == ("2 hours", "", [("jupyter", "ready")])


@pytest.mark.parametrize(
    ("board", "values", "problem"),
    [
        (node("pi-02", ready="Unknown"), {}, "is not ready"),
        (node("pi-02"), {}, "does not say how it is"),
        (node("pi-02", unschedulable=True), VALUES, "takes no pods"),
        (node("pi-02"), VALUES | {"under_voltage": 1}, "its voltage is too low"),
        (node("pi-02"), VALUES | {"temperature": 81}, "is too hot"),
    ],
)
def test_what_is_wrong_with_a_board_is_said(status: Any, board: Any, values: dict[str, float], problem: str) -> None:
    (said,) = status.described(board, [], values, NOW)["problems"]
    assert said.startswith(problem)


def test_a_full_disk_is_said_by_the_kubelet(status: Any) -> None:
    board = node("pi-02")
    board["status"]["conditions"][1]["status"] = "True"
    assert status.described(board, [], VALUES, NOW)["problems"] == ["its disk is full"]


def test_values_that_fit_nothing_fill_their_bars_at_most(status: Any) -> None:
    wild = VALUES | {"load": 9e14, "memory_free": 9e14, "disk_free": 0}
    assert [part for _, _, part in status.described(node("pi-02"), [], wild, NOW)["bars"]] == [1, 0, 1]


def test_users_of_a_hub_are_not_named(status: Any) -> None:
    pods = [pod("user-alice", component="singleuser-server"), pod("hub", ready="False")]
    shown = status.described(node("pi-02"), pods, VALUES, NOW)["pods"]
    assert shown == [("Jupyter of a user", "ready"), ("hub", "not ready")]


def test_the_last_run_is_the_newest_in_the_order_of_its_notebooks(status: Any) -> None:
    failed = step("prediction-fast", RUN, 4)
    failed["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] = 1
    pods = [step("training-fast", OLDER, 59), failed, step("training-fast", RUN, 2), step("x", f"{RUN}/../..", 1)]
    run = status.last_run(pods, NOW)
    assert run == {
        "name": RUN,
        "steps": [("training-fast", "pi-02", "10 s", "done"), ("prediction-fast", "pi-02", "10 s", "failed")],
        "reported": False,
    }
    assert status.last_run([*pods, step("report", RUN, 5)], NOW)["reported"]
    assert status.last_run([pod("jupyter")], NOW) == {}


def test_a_run_is_shown_while_it_runs(status: Any) -> None:
    began = status.moment("2026-11-26T10:30:00Z")
    pods = [
        step("training-fast", RUN, 1, {"running": {"startedAt": "2026-11-26T10:30:00Z"}}),
        step("prediction-fast", RUN, 1, {"waiting": {"reason": "ContainerCreating"}}),
    ]
    steps = status.last_run(pods, began + 30)["steps"]
    assert [each[2:] for each in steps] == [("30 s", "runs"), ("0 s", "ContainerCreating")]


@pytest.mark.parametrize("year", ["0000", "99999", "-001"])
def test_a_time_that_no_calendar_has_hides_no_run(status: Any, year: str) -> None:
    ended = {"startedAt": f"{year}-01-01T00:00:00Z", "finishedAt": f"{year}-01-01T00:00:00Z", "exitCode": 0}
    assert status.last_run([step("report", RUN, 1, {"terminated": ended})], 5.0)["steps"][0][2:] == ("0 s", "done")


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        # What the API says of a pod whose board was lost.
        ({"terminated": {"exitCode": 137, "startedAt": None, "finishedAt": None}}, ("0 s", "failed")),
        ({"terminated": {"exitCode": 137}}, ("0 s", "failed")),
        ({"running": {"startedAt": None}}, ("0 s", "runs")),
        ({"running": {}}, ("0 s", "not ready")),
    ],
)
def test_a_container_without_times_hides_no_page(status: Any, state: dict[str, Any], shown: tuple[str, str]) -> None:
    (found,) = status.last_run([step("training-fast", RUN, 1, state)], NOW)["steps"]
    assert found[2:] == shown


def test_metrics_have_the_names_of_node_exporter(status: Any) -> None:
    text = status.metrics([node("pi-01", "False"), node("pi-02")], {"pi-02": VALUES | {"temperature": 51.5}})
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r'[a-z_A-Z0-9]+\{board="[^"]+"(,mountpoint="/")?\} [0-9.e+]+', line) for line in samples)
    assert 'edge_ai_board_ready{board="pi-01"} 0' in samples
    assert 'node_load1{board="pi-02"} 1.5' in samples
    assert 'node_filesystem_avail_bytes{board="pi-02",mountpoint="/"} 8000000000.0' in samples
    assert 'node_thermal_zone_temp{board="pi-02"} 51.5' in samples
    assert text.endswith("\n")


def test_no_name_can_add_a_sample(status: Any) -> None:
    text = status.metrics([node('x"} 1\nedge_ai_board_ready{board="pi-09')], {})
    assert text.count("\n") == text.count("# TYPE") + 1


class Jupyter(RequestHandler):
    """What a Jupyter or a hub says of cookies."""

    asked = 0

    async def get(self) -> None:
        Jupyter.asked += 1
        cookie = self.request.headers.get("Cookie", "")
        if cookie == "login=slow":
            await asyncio.sleep(60)
        if cookie == "login=long":
            self.finish(b"x" * (1 << 20))
        elif cookie == "login=good":
            self.finish("{}")
        elif cookie == "login=redirected":
            self.redirect("/login")
        else:
            self.send_error(403)

    def log_exception(self, *error: Any) -> None:
        pass


def serve(application: Application) -> tuple[HTTPServer, str]:
    socket, port = bind_unused_port()
    server = HTTPServer(application)
    server.add_socket(socket)
    return server, f"http://127.0.0.1:{port}"


def configuration(folder: Path, logins: list[str], **settings: Any) -> Path:
    """What the pod has in /etc/status."""
    overlay = {"page": "/", "links": [{"title": "Jupyter", "path": "/lab"}], "logins": logins, "files": "/files/"}
    (folder / "overlay.json").write_text(json.dumps(overlay | settings))
    cluster = {"name": "home", "certificates": [{"name": "https", "ends": "2027-12-27"}], "fingerprint": "AB:CD"}
    (folder / "cluster.json").write_text(json.dumps(cluster))
    for name, text in {"ca.crt": "the CA", "token": "the token\n", "api-token": "x"}.items():
        if not (folder / name).exists():
            (folder / name).write_text(text)
    # Any CA: the API is not asked here.
    (folder / "api-ca.crt").write_text("".join(map(ssl.DER_cert_to_PEM_cert, authorities()[:1])))
    return folder


def authorities() -> list[bytes]:
    return ssl.create_default_context().get_ca_certs(binary_form=True)


@pytest.fixture
def visit(status: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., HTTPResponse]:
    """One request to the page beside a Jupyter; boards, pods and values are given."""
    monkeypatch.setattr(status, "PATIENCE", 1.0)
    Jupyter.asked = 0

    def run(path: str = "/", cookie: str = "", token: str = "", **more: Any) -> HTTPResponse:
        seen = {"nodes": [node("pi-01"), node("pi-02")], "values": {"pi-02": VALUES}, "pods": []}
        seen["api_ends"] = "2027-11-26"

        class Given(status.Cluster):
            async def look(self) -> Any:
                return seen | more.get("seen", {})

        async def main() -> HTTPResponse:
            _, jupyter = serve(Application([(".*", Jupyter)], log_function=lambda _: None))
            folder = configuration(tmp_path, [f"{more.get('jupyter', jupyter)}/api/me"], **more.get("overlay", {}))
            cluster = (status.Cluster if more.get("no_api") else Given)(folder, ("127.0.0.1", 1))
            _, page = serve(status.application(cluster))
            headers = {"Cookie": cookie} if cookie else {}
            headers |= {"Authorization": token} if token else {}
            return await AsyncHTTPClient(force_instance=True).fetch(
                page + path, headers=headers, raise_error=False, follow_redirects=False
            )

        return asyncio.run(main())

    return run


def test_whoever_is_logged_in_sees_all_boards(visit: Any) -> None:
    answer = visit(cookie="login=good")
    page = answer.body.decode()
    assert answer.code == 200
    for text in ("pi-01", "pi-02", "2 of 2 boards are ready", "1.50 on 4", "2027-12-27", "AB:CD"):
        assert text in page
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert answer.headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize(("cookie", "asked"), [("", 0), ("login=bad", 1), ("login=redirected", 1)])
def test_whoever_is_not_sees_no_board_and_where_to_log_in(visit: Any, cookie: str, asked: int) -> None:
    answer = visit(cookie=cookie)
    page = answer.body.decode()
    assert (answer.code, Jupyter.asked) == (403, asked)
    assert "Log in" in page and 'href="/lab"' in page
    assert not re.search(r"pi-0|home|2027", page)


@pytest.mark.parametrize(
    ("cookie", "more"),
    [
        ("login=good", {"jupyter": "http://127.0.0.1:1"}),
        ("login=good", {"jupyter": "http://there-is-none.invalid"}),
        ("login=slow", {}),
        ("login=long", {}),
    ],
)
def test_where_jupyter_does_not_answer_nobody_is_let_in(visit: Any, cookie: str, more: dict[str, Any]) -> None:
    begun = time.monotonic()
    answer = visit(cookie=cookie, **more)
    assert time.monotonic() - begun < 4
    assert answer.code == 503
    assert "Jupyter does not answer" in answer.body.decode()
    assert "pi-0" not in answer.body.decode()


def test_where_the_api_does_not_answer_the_page_says_so(visit: Any) -> None:
    answer = visit(cookie="login=good", no_api=True)
    assert answer.code == 503
    assert "API does not answer" in answer.body.decode()


def test_the_page_of_a_hub_is_where_its_cookies_are_sent(visit: Any) -> None:
    overlay = {"page": "/hub/status"}
    answer = visit("/", cookie="login=good", overlay=overlay)
    assert (answer.code, answer.headers["Location"]) == (302, "/hub/status")
    assert visit("/hub/status", cookie="login=good", overlay=overlay).code == 200
    assert visit("/hub/status", overlay=overlay).code == 403


def test_nothing_that_is_shown_becomes_part_of_the_page(visit: Any) -> None:
    strange = pod(SCRIPT, board=SCRIPT, ready="False")
    strange["status"]["containerStatuses"] = [{"state": {"waiting": {"reason": SCRIPT}}}]
    homeless = pod(SCRIPT)
    del homeless["spec"]["nodeName"]
    board = node(SCRIPT)
    board["metadata"]["labels"] = {"role": SCRIPT}
    board["status"]["nodeInfo"] = {"kubeletVersion": SCRIPT}
    run = [step(SCRIPT, RUN, 1)]
    run[0]["spec"]["nodeName"] = SCRIPT
    page = visit(cookie="login=good", seen={"nodes": [board], "pods": [strange, homeless, *run]}).body.decode()
    assert "<script" not in page
    assert page.count("&quot;&gt;&lt;script&gt;") >= 7


def test_a_report_is_offered_where_there_is_one(visit: Any) -> None:
    link = f'href="/files/runs/{RUN}/report.html"'
    run = [step("training-fast", RUN, 1)]
    assert link not in visit(cookie="login=good", seen={"pods": run}).body.decode()
    run.append(step("report", RUN, 2))
    assert link in visit(cookie="login=good", seen={"pods": run}).body.decode()
    assert "report.html" not in visit(cookie="login=good", seen={"pods": run}, overlay={"files": ""}).body.decode()


@pytest.mark.parametrize("token", ["", "the token", "Bearer", "Bearer ", "Bearer the tokens", "Bearer \xe9"])
def test_metrics_need_the_token_and_no_login_replaces_it(visit: Any, token: str) -> None:
    answer = visit("/metrics", cookie="login=good", token=token)
    assert (answer.code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert b"pi-0" not in answer.body


def test_metrics_are_read_with_the_token(visit: Any) -> None:
    answer = visit("/metrics", token="Bearer the token")
    assert answer.code == 200
    assert b'node_load1{board="pi-02"} 1.5' in answer.body


def test_without_a_token_metrics_are_closed(visit: Any, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    for token in ("Bearer ", "Bearer", ""):
        assert visit("/metrics", token=token).code == 401


def test_the_ca_is_for_anybody_and_no_page_without_it(visit: Any, tmp_path: Path) -> None:
    answer = visit("/ingress-ca.crt")
    assert (answer.code, answer.body) == (200, b"the CA")
    assert "ingress-ca.crt" in visit().body.decode()
    (tmp_path / "ca.crt").write_text("")
    assert visit("/ingress-ca.crt").code == 404
    assert "ingress-ca.crt" not in visit().body.decode()


@pytest.mark.parametrize("path", ["/other", "/board/", "/../etc/status/token", "/page.html"])
def test_there_are_no_other_pages(visit: Any, path: str) -> None:
    assert visit(path, cookie="login=good").code == 404


class Talker(RequestHandler):
    """A board that another program speaks for."""

    def initialize(self, talk: Callable[[RequestHandler], Awaitable[None]]) -> None:
        self.talk = talk

    async def get(self) -> None:
        await self.talk(self)


async def endless(handler: RequestHandler) -> None:
    while True:
        handler.write("1" * 65536)
        await handler.flush()


async def silent(handler: RequestHandler) -> None:
    await asyncio.sleep(60)


async def elsewhere(handler: RequestHandler) -> None:
    handler.redirect("/other")


async def packed(handler: RequestHandler) -> None:
    handler.set_header("Content-Encoding", "gzip")
    handler.finish(gzip.compress(b'{"load": 1}'))


async def long_head(handler: RequestHandler) -> None:
    handler.set_header("X-Long", "1" * 200_000)
    handler.finish({"load": 1.5})


async def honest(handler: RequestHandler) -> None:
    handler.finish({"load": 1.5, "name": SCRIPT})


@pytest.mark.parametrize(
    ("talk", "values"),
    [(endless, {}), (silent, {}), (elsewhere, {}), (packed, {}), (long_head, {}), (honest, {"load": 1.5})],
)
def test_a_board_is_asked_for_a_moment_and_little(
    status: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, talk: Any, values: dict[str, float]
) -> None:
    monkeypatch.setattr(status, "PATIENCE", 1.0)

    async def main() -> Any:
        _, url = serve(Application([("/board", Talker, {"talk": talk})], log_function=lambda _: None))
        monkeypatch.setattr(status, "PORT", int(url.rpartition(":")[2]))
        return await status.Cluster(configuration(tmp_path, []), ("127.0.0.1", 1))._values("127.0.0.1")

    begun = time.monotonic()
    assert asyncio.run(main()) == values
    # Without its limit, it would wait without end.
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("name", OVERLAYS)
def test_overlays_say_where_their_logins_are(name: str) -> None:
    overlay = json.loads((ROOT / "k8s" / "overlays" / name / "status" / "overlay.json").read_text())
    assert set(overlay) == {"page", "links", "logins", "files"}
    assert overlay["page"] in ("/", "/hub/status")
    assert all(url.startswith("http://") and url.count(":") == 2 for url in overlay["logins"])
