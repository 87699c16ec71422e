"""The status page of the cluster: the same program on every board, each of which shows all of them.

    GET /                 the page, or /hub/status; whoever is not logged in only sees where to log in
    GET /ingress-ca.crt   the CA to trust, for anybody
    GET /metrics          the boards' values for a Prometheus, with the token of the Secret
    GET /board            the values of this board, for the other pods; the Ingress does not lead there

Jupyter or the hub says who is logged in, by the browser's own cookies. Boards and pods are those of the API. Nothing
is kept.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import re
import signal
import ssl
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import psutil
from tornado.httpclient import HTTPError, HTTPRequest
from tornado.iostream import UnsatisfiableReadError
from tornado.simple_httpclient import SimpleAsyncHTTPClient
from tornado.template import Template
from tornado.web import Application, RequestHandler

Object = dict[str, Any]

HERE = Path(os.environ.get("STATUS_CONFIG", "/etc/status"))
PORT = 8888
#: Nothing in the page runs, and nothing shows it inside of another one.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
#: What an answer that cannot be used raises.
FAILED = (HTTPError, OSError, ValueError, KeyError)
#: Seconds for which what was seen is shown again, and that a board, the API or Jupyter may take to answer.
FRESH, PATIENCE = 5.0, 4.0
#: Bytes of an answer of the API, and of anything else.
LONG, SHORT = 8 << 20, 64 << 10
#: Bytes of a request: cookies are most of it.
REQUEST = 16 << 10
#: Degrees from which a Raspberry Pi slows its processor down.
HOT = 80
#: What the kubelet says when it begins to end pods.
PRESSURES = {
    "DiskPressure": "its disk is full",
    "MemoryPressure": "its memory is full",
    "PIDPressure": "it has too many processes",
}
SERVER = "node-role.kubernetes.io/control-plane"
RUN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
#: What a board says of itself, and its name in /metrics: where Prometheus' node exporter has it, the same.
VALUES = {
    "load": "node_load1",
    "processors": "edge_ai_processors",
    "memory": "node_memory_MemTotal_bytes",
    "memory_free": "node_memory_MemAvailable_bytes",
    "disk": "node_filesystem_size_bytes",
    "disk_free": "node_filesystem_avail_bytes",
    "booted": "node_boot_time_seconds",
    "temperature": "node_thermal_zone_temp",
    "under_voltage": "edge_ai_under_voltage",
}


def board(hwmon: Path = Path("/sys/class/hwmon")) -> dict[str, float]:
    """The values of the board on which this runs. The disk is the one with the container's files."""
    memory, disk = psutil.virtual_memory(), psutil.disk_usage("/")
    found: dict[str, float] = {
        "load": psutil.getloadavg()[0],
        "processors": psutil.cpu_count() or 1,
        "memory": memory.total,
        "memory_free": memory.available,
        # As df counts it: without what is kept for root.
        "disk": disk.used + disk.free,
        "disk_free": disk.free,
        "booted": psutil.boot_time(),
    }
    if measured := [each.current for sensor in psutil.sensors_temperatures().values() for each in sensor]:
        found["temperature"] = max(measured)
    # The firmware's other bits are for vcgencmd, which no container may run: playbooks/check.yml has them.
    for name in hwmon.glob("*/name"):
        if name.read_text().strip() == "rpi_volt":
            found["under_voltage"] = int((name.parent / "in0_lcrit_alarm").read_text())
    return found


def numbers(answer: bytes) -> dict[str, float]:
    """The known values of a board's answer that are numbers; what else it says is left out."""
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        return {}
    return {
        name: float(found[name])
        for name in VALUES
        if isinstance(found, dict) and type(found.get(name)) in (int, float) and 0 <= found[name] < 1e15
    }


def is_ready(thing: Object) -> bool:
    """Whether the API says so of a Node or a pod."""
    conditions = thing.get("status", {}).get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def label(thing: Object, name: str) -> str:
    """A label, or nothing."""
    return str((thing["metadata"].get("labels") or {}).get(name, ""))


def moment(text: str | None, otherwise: float = 0.0) -> float:
    """Seconds since 1970 of a time of the API; `otherwise` for none.

    A container that was lost with its board ended at no time (null), and a kubelet may write one of the year 0.
    """
    try:
        return datetime.fromisoformat((text or "").replace("Z", "+00:00")).timestamp()
    except ValueError:
        return otherwise


def described(node: Object, pods: list[Object], values: dict[str, float], now: float) -> Object:
    """One board for the page: what is wrong first."""
    problems = [] if is_ready(node) else ["is not ready"]
    for each in node.get("status", {}).get("conditions") or []:
        if each["type"] in PRESSURES and each["status"] == "True":
            problems.append(PRESSURES[each["type"]])
    if node.get("spec", {}).get("unschedulable"):
        problems.append("takes no pods")
    if not values and not problems:
        problems.append("does not say how it is")
    if values.get("under_voltage"):
        problems.append("its voltage is too low: it needs a better power supply or cable")
    if values.get("temperature", 0) >= HOT:
        problems.append("is too hot, so its processor is slowed down: it needs more air, or a fan")
    bars = []
    if values.get("processors"):
        part = values.get("load", 0) / values["processors"]
        bars.append(("load", f"{values.get('load', 0):.2f} on {values['processors']:.0f}", part))
    for name in ("memory", "disk"):
        if total := values.get(name):
            used = total - min(total, values.get(f"{name}_free", 0))
            bars.append((name, f"{used / 1e9:.1f} of {total / 1e9:.1f} GB", used / total))
    return {
        "name": node["metadata"]["name"],
        "role": " and ".join(filter(None, ["server" * (label(node, SERVER) == "true"), label(node, "role")])),
        "problems": problems,
        "bars": [(name, text, round(min(1.0, part), 3)) for name, text, part in bars],
        "temperature": f"{values['temperature']:.0f} °C" if "temperature" in values else "",
        "up": spoken(now - values["booted"]) if "booted" in values else "",
        "version": str(node.get("status", {}).get("nodeInfo", {}).get("kubeletVersion", "")),
        "pods": [
            (title(pod), state(pod))
            for pod in pods
            if not label(pod, "edge-ai/run") and label(pod, "app.kubernetes.io/name") != "status"
        ],
    }


def title(pod: Object) -> str:
    """Its name, but not who of a hub's users is there."""
    return "Jupyter of a user" if label(pod, "component") == "singleuser-server" else str(pod["metadata"]["name"])


def state(pod: Object) -> str:
    """What a pod does, in a word or two."""
    if pod["metadata"].get("deletionTimestamp"):
        return "ends"
    if is_ready(pod):
        return "ready"
    for container in pod.get("status", {}).get("containerStatuses") or []:
        for found in container.get("state", {}).values():
            if found and found.get("reason"):
                return str(found["reason"])
    phase = str(pod.get("status", {}).get("phase", "Unknown"))
    return "not ready" if phase == "Running" else phase


def spoken(seconds: float) -> str:
    """How long, for people."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}s"
    return f"{max(0.0, seconds):.0f} s"


def last_run(pods: Iterable[Object], now: float) -> Object:
    """The newest run of notebooks: what its pods did, in their order. Kubernetes keeps them for a week."""
    runs: dict[str, list[Object]] = {}
    for pod in pods:
        if RUN.fullmatch(run := label(pod, "edge-ai/run")):
            runs.setdefault(run, []).append(pod)
    if not runs:
        return {}
    # Their names begin with the time.
    newest = max(runs)
    steps = []
    for pod in runs[newest]:
        found = ((pod.get("status", {}).get("containerStatuses") or [{}])[0]).get("state", {})
        ended, running = found.get("terminated"), found.get("running")
        if ended:
            began = moment(ended.get("startedAt"), now)
            seconds = moment(ended.get("finishedAt"), began) - began
            result = "done" if ended.get("exitCode") == 0 else "failed"
        else:
            began = moment(running.get("startedAt"), now) if running else now
            seconds, result = now - began, "runs" if running else state(pod)
        name = label(pod, "batch.kubernetes.io/job-name")
        steps.append((began, name, str(pod.get("spec", {}).get("nodeName", "")), f"{seconds:.0f} s", result))
    steps.sort()
    reported = any(name == "report" and result == "done" for _, name, _, _, result in steps)
    return {"name": newest, "steps": [step[1:] for step in steps], "reported": reported}


def quoted(text: str) -> str:
    """A value of a label of /metrics."""
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def metrics(nodes: list[Object], values: dict[str, dict[str, float]]) -> str:
    """The boards' values in the text format of Prometheus."""
    lines = ["# TYPE edge_ai_board_ready gauge"]
    for node in nodes:
        lines.append(f'edge_ai_board_ready{{board="{quoted(node["metadata"]["name"])}"}} {int(is_ready(node))}')
    for name, metric in VALUES.items():
        lines.append(f"# TYPE {metric} gauge")
        more = ',mountpoint="/"' if name.startswith("disk") else ""
        for each, found in sorted(values.items()):
            if name in found:
                lines.append(f'{metric}{{board="{quoted(each)}"{more}}} {found[name]}')
    return "\n".join(lines) + "\n"


class Cluster:
    """What the API and the boards say, and who is logged in."""

    def __init__(self, folder: Path, api: tuple[str, int]) -> None:
        self.folder = folder
        self.api = api
        self.overlay: Object = json.loads((folder / "overlay.json").read_text())
        self.settings: Object = json.loads((folder / "cluster.json").read_text())
        self.ca = (folder / "ca.crt").read_bytes()
        self.token = (folder / "token").read_text().strip()
        self.trust = ssl.create_default_context(cafile=str(folder / "api-ca.crt"))
        # Python 3.13 refuses CAs that lack what others have; clusters that were created years ago may have such a one.
        self.trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self._clients = {
            limit: SimpleAsyncHTTPClient(force_instance=True, max_body_size=limit) for limit in (SHORT, LONG)
        }
        self._lock = asyncio.Lock()
        self._seen: tuple[float, Object] | None = None

    async def logged_in(self, cookies: str) -> bool | None:
        """Whether these cookies are those of a login; None where neither Jupyter nor the hub says so now."""
        known: bool | None = None if cookies else False
        for url in self.overlay["logins"] if cookies else []:
            try:
                # As from a click on a link: the hub asks for more otherwise.
                await self._ask(url, {"Cookie": cookies, "Sec-Fetch-Mode": "navigate"})
            except HTTPError as error:
                if error.code in (302, 401, 403):
                    known = False
            except OSError:
                pass
            else:
                return True
        return known

    async def look(self) -> Object:
        """Nodes, pods and values of boards as they are now, or were FRESH seconds ago. Raises FAILED."""
        async with self._lock:
            if self._seen is None or time.monotonic() - self._seen[0] > FRESH:
                nodes, pods, ends = await asyncio.gather(
                    self._list("/api/v1/nodes"), self._list("/api/v1/namespaces/edge-ai/pods"), self._certificate_ends()
                )
                ours = [pod for pod in pods if label(pod, "app.kubernetes.io/name") == "status" and is_ready(pod)]
                asked = [(str(pod["spec"].get("nodeName")), str(pod["status"].get("podIP"))) for pod in ours]
                said = await asyncio.gather(*(self._values(address) for _, address in asked))
                values = {name: found for (name, _), found in zip(asked, said, strict=True) if found}
                self._seen = time.monotonic(), {"nodes": nodes, "pods": pods, "values": values, "api_ends": ends}
            return self._seen[1]

    async def _ask(self, url: str, headers: dict[str, str], limit: int = SHORT, **more: Any) -> bytes:
        """The body of an answer with status 200. Raises HTTPError, also for one that is late or too long; OSError."""
        request = HTTPRequest(
            url,
            headers=headers,
            connect_timeout=PATIENCE / 2,
            request_timeout=PATIENCE,
            follow_redirects=False,
            # What is small as it comes may be large when it is unpacked.
            decompress_response=False,
            **more,
        )
        try:
            answer = await self._clients[limit].fetch(request)
        except UnsatisfiableReadError as error:  # a head without an end
            raise HTTPError(599) from error
        if answer.code != HTTPStatus.OK:
            raise HTTPError(answer.code)
        return answer.body

    async def _list(self, path: str) -> list[Object]:
        token = (self.folder / "api-token").read_text().strip()
        url = f"https://{self.api[0]}:{self.api[1]}{path}?limit=500"
        answer = await self._ask(url, {"Authorization": f"Bearer {token}"}, limit=LONG, ssl_options=self.trust)
        found: list[Object] = json.loads(answer)["items"]
        return sorted(found, key=lambda each: str(each["metadata"]["name"]))

    async def _certificate_ends(self) -> str:
        """The day on which the API's certificate ends."""
        _, writer = await asyncio.wait_for(asyncio.open_connection(*self.api, ssl=self.trust), PATIENCE)
        end = writer.get_extra_info("peercert")["notAfter"]
        writer.close()
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(end), UTC).date().isoformat()

    async def _values(self, address: str) -> dict[str, float]:
        try:
            return numbers(await self._ask(f"http://{address}:{PORT}/board", {}))
        except (HTTPError, OSError):
            return {}

    def view(self, seen: Object) -> Object:
        """What the page shows."""
        now = time.time()
        boards = [
            described(
                node,
                [pod for pod in seen["pods"] if pod["spec"].get("nodeName") == node["metadata"]["name"]],
                seen["values"].get(node["metadata"]["name"], {}),
                now,
            )
            for node in seen["nodes"]
        ]
        certificates = [*self.settings["certificates"], {"name": "Kubernetes' API", "ends": seen["api_ends"]}]
        return {
            "boards": boards,
            "ready": sum(map(is_ready, seen["nodes"])),
            "waiting": [(title(pod), state(pod)) for pod in seen["pods"] if not pod["spec"].get("nodeName")],
            "run": last_run(seen["pods"], now),
            "certificates": [
                (each["name"], each["ends"], int((moment(each["ends"] + "T00:00Z") - now) // 86400))
                for each in certificates
            ],
            "now": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        }


class Handler(RequestHandler):
    """What all answers have in common: nothing keeps them."""

    def initialize(self, cluster: Cluster) -> None:
        """Called by tornado."""
        self.cluster = cluster

    def set_default_headers(self) -> None:
        """Also of errors."""
        self.clear_header("Server")
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Security-Policy", POLICY)
        # Jupyter shows a file, such as a report, only to who comes from the same address.
        self.set_header("Referrer-Policy", "same-origin")
        self.set_header("X-Content-Type-Options", "nosniff")


class Page(Handler):
    """The page, for whoever is logged in."""

    async def get(self) -> None:
        """Answer / and /hub/status."""
        overlay = self.cluster.overlay
        if self.request.path != overlay["page"]:
            self.redirect(overlay["page"])
            return
        view: Object = {}
        logged_in = await self.cluster.logged_in(self.request.headers.get("Cookie", ""))
        if logged_in:
            try:
                view = self.cluster.view(await self.cluster.look())
            except FAILED as error:
                # Of the API or of the way to it: what it says is for a log.
                print(f"the API does not answer: {error!r}", file=sys.stderr)
        self.set_status(200 if view else 403 if logged_in is False else 503)
        self.finish(TEMPLATE.generate(cluster=self.cluster, known=logged_in, view=view))


class Ca(Handler):
    """The CA to trust. It is no secret, and wanted before a password is typed."""

    def get(self) -> None:
        """Answer /ingress-ca.crt."""
        if not self.cluster.ca:
            self.send_error(404)
            return
        self.set_header("Content-Type", "application/x-x509-ca-cert")
        self.finish(self.cluster.ca)


class Metrics(Handler):
    """Values for a Prometheus."""

    async def get(self) -> None:
        """Answer /metrics to whoever has the token."""
        self.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        given, wanted = self.request.headers.get("Authorization", ""), f"Bearer {self.cluster.token}"
        if not self.cluster.token or not hmac.compare_digest(given.encode(), wanted.encode()):
            self.set_status(401)
            self.set_header("WWW-Authenticate", "Bearer")
            self.finish("The header Authorization needs the token in status-token: docs/jupyter.md\n")
            return
        try:
            seen = await self.cluster.look()
        except FAILED:
            self.send_error(503)
            return
        self.finish(metrics(seen["nodes"], seen["values"]))


class Board(Handler):
    """This board."""

    def get(self) -> None:
        """Answer /board."""
        self.finish(board())


class Health(Handler):
    """For the kubelet."""

    def get(self) -> None:
        """Answer /healthz."""
        self.finish("running")


TEMPLATE = Template((Path(__file__).parent / "page.html").read_text(), name="page.html")


def application(cluster: Cluster) -> Application:
    """All that is answered."""
    handlers = {
        "/": Page,
        "/hub/status": Page,
        "/ingress-ca[.]crt": Ca,
        "/metrics": Metrics,
        "/board": Board,
        "/healthz": Health,
    }
    # Without a log of requests.
    return Application(
        [(path, handler, {"cluster": cluster}) for path, handler in handlers.items()], log_function=lambda _: None
    )


async def main() -> None:
    """Serve until the pod ends."""
    api = os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    application(Cluster(HERE, api)).listen(
        PORT, max_header_size=REQUEST, max_body_size=REQUEST, idle_connection_timeout=30, body_timeout=10
    )
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(main())
