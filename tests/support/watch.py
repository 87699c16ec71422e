"""Waiting for a state of the cluster, and asking a Service again and again while something happens to it."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from types import TracebackType

from kubernetes import client
from kubernetes.client.rest import ApiException
from kubernetes.stream import stream
from urllib3.exceptions import HTTPError

from tests.support.cluster import connect, kubernetes_api

NAMESPACE = "edge-ai"
WEIGHTS = "/srv/books/weights/fast/model.weights.h5"
"""Weights of the profile `fast`, on the NFS server."""


def core(server: str = "") -> client.CoreV1Api:
    """The API with the kubeconfig of this moment: a restored cluster has another one. Of one `server`, when named."""
    return client.CoreV1Api(kubernetes_api(server))


def wait_until(what: str, seconds: float, condition: Callable[[], object]) -> None:
    """Ask every two seconds; AssertionError with the last answer when it is still not so after `seconds`."""
    end = time.monotonic() + seconds
    answer: object = None
    while time.monotonic() < end:
        try:
            if answer := condition():
                return
        # RuntimeError is testinfra's for a board that ssh does not reach.
        except (OSError, HTTPError, ApiException, RuntimeError) as error:
            answer = error
        time.sleep(2)
    raise AssertionError(f"{what}: not within {seconds:.0f} s; last answer: {answer!r}")


def ready_nodes(server: str = "") -> dict[str, bool]:
    """Whether each Node is Ready, by name; in the words of one `server`, when named."""
    return {
        node.metadata.name: any(each.type == "Ready" and each.status == "True" for each in node.status.conditions)
        for node in core(server).list_node(_request_timeout=10).items
    }


def machine_ids() -> dict[str, str]:
    """The machine-id that each Node reports, by name."""
    return {node.metadata.name: node.status.node_info.machine_id for node in core().list_node().items}


def versions() -> dict[str, str]:
    """The version that each Node runs."""
    return {node.metadata.name: node.status.node_info.kubelet_version for node in core().list_node().items}


def running_on(node: str) -> list[str]:
    """Names of the ready pods of the workload on a node."""
    # The status page's pod is everywhere, at once.
    workload = {"field_selector": f"spec.nodeName={node}", "label_selector": "app.kubernetes.io/part-of=edge-ai"}
    pods = core().list_namespaced_pod(NAMESPACE, **workload).items
    return [
        pod.metadata.name
        for pod in pods
        if not pod.metadata.deletion_timestamp
        and any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions or [])
    ]


def reads(node: str) -> bool:
    """Whether Jupyter on a node reads the weights from the volume."""
    command = ["head", "--bytes=4", WEIGHTS.replace("/srv", "")]
    names = running_on(node)
    read = [
        stream(core().connect_get_namespaced_pod_exec, name, NAMESPACE, command=command, stdout=True) for name in names
    ]
    return len(names) == 1 and "HDF" in str(read)


class Answers:
    """A context in which servers are asked for something in the datastore, again and again, by new connections.

    Afterwards `rounds` counts how often, and `silent` has the times (UTC) at which none of them answered.
    """

    def __init__(self, servers: list[str]) -> None:
        self.rounds = 0
        self.silent: list[str] = []
        self._servers = servers
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    @staticmethod
    def _answers(server: str) -> bool:
        try:
            core(server).list_namespace(limit=1, _request_timeout=15)
        except (OSError, HTTPError, ApiException):
            return False
        return True

    def _ask(self) -> None:
        while not self._over.wait(1):
            # Up to the first that does: one is enough.
            if not any(self._answers(server) for server in self._servers):
                self.silent.append(time.strftime("%H:%M:%S", time.gmtime()))
            self.rounds += 1

    def __enter__(self) -> Answers:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(60)


LOOP = """
import collections, json, pathlib, time, urllib.request
stop, answers = pathlib.Path({stop!r}), collections.Counter()
end = time.monotonic() + {seconds}
while not stop.exists() and time.monotonic() < end:
    try:
        with urllib.request.urlopen({url!r}, timeout=15) as answer:
            answer.read()
            answers[str(answer.status)] += 1
    except OSError as error:
        answers[time.strftime("%H:%M:%S ") + str(error)] += 1
    time.sleep(0.2)
print(json.dumps(answers))
"""
"""Runs on a board, with its Python alone."""


class Requests:
    """A context in which boards ask a Service for a page, five times a second, each time by a new connection.

    `answers` counts statuses and errors of each board afterwards. They ask from the boards, because a Service's own
    address is only known there; a board that is drained is asked from as well.
    """

    def __init__(self, url: str, boards: list[str], seconds: float = 1800) -> None:
        self.answers: dict[str, Counter[str]] = {}
        self._boards = {name: connect(name) for name in boards}
        self._stop = f"/run/edge-requests-{uuid.uuid4().hex}"
        self._script = LOOP.format(stop=self._stop, url=url, seconds=seconds)
        self._threads = [threading.Thread(target=self._ask, args=(name,), daemon=True) for name in boards]

    def _ask(self, name: str) -> None:
        printed = self._boards[name].run("python3 -c %s", self._script)
        self.answers[name] = Counter(json.loads(printed.stdout) if printed.rc == 0 else {printed.stderr: 1})

    def __enter__(self) -> Requests:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self._boards:
            connect(name).check_output("touch %s", self._stop)
        for thread in self._threads:
            thread.join(60)
