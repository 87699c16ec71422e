"""Waiting for a state of the cluster, and asking a Service again and again while something happens to it."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from types import TracebackType

from kubernetes import client
from kubernetes.client.rest import ApiException

from tests.support.cluster import kubernetes_api

NAMESPACE = "edge-ai"


def core() -> client.CoreV1Api:
    """The API with the kubeconfig of this moment: a restored cluster has another one."""
    return client.CoreV1Api(kubernetes_api())


def wait_until(what: str, seconds: float, condition: Callable[[], object]) -> None:
    """Ask every two seconds; AssertionError with the last answer when it is still not so after `seconds`."""
    end = time.monotonic() + seconds
    answer: object = None
    while time.monotonic() < end:
        try:
            if answer := condition():
                return
        except (OSError, ApiException) as error:
            answer = error
        time.sleep(2)
    raise AssertionError(f"{what}: not within {seconds:.0f} s; last answer: {answer!r}")


def ready_nodes() -> dict[str, bool]:
    """Whether each Node is Ready, by name."""
    return {
        node.metadata.name: any(each.type == "Ready" and each.status == "True" for each in node.status.conditions)
        for node in core().list_node(_request_timeout=10).items
    }


def machine_ids() -> dict[str, str]:
    """The machine-id that each Node reports, by name."""
    return {node.metadata.name: node.status.node_info.machine_id for node in core().list_node().items}


def running_on(node: str) -> list[str]:
    """Names of the ready pods of the workload on a node."""
    pods = core().list_namespaced_pod(NAMESPACE, field_selector=f"spec.nodeName={node}").items
    return [
        pod.metadata.name
        for pod in pods
        if not pod.metadata.deletion_timestamp
        and any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions or [])
    ]


class Requests:
    """A context in which a page is asked for five times a second, each time by a new connection.

    `answers` counts statuses and errors. The addresses are asked in turn.
    """

    def __init__(self, *urls: str) -> None:
        self.urls = urls
        self.answers: Counter[str] = Counter()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def _ask(self) -> None:
        count = 0
        while not self._stop.wait(0.2):
            url = self.urls[count % len(self.urls)]
            count += 1
            try:
                with self._opener.open(url, timeout=15) as answer:
                    answer.read()
                    self.answers[str(answer.status)] += 1
            except (OSError, urllib.error.URLError) as error:
                self.answers[f"{url}: {error}"] += 1

    def __enter__(self) -> Requests:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(30)
