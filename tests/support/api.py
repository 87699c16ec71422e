"""A server that answers as the API of a cluster in which all is well, until a test changes its answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CORE, APPS = "/api/v1/namespaces/edge-ai", "/apis/apps/v1/namespaces/edge-ai"
SYSTEM = "/apis/apps/v1/namespaces/kube-system/deployments"
#: What the role manifests has recorded.
RECORD = [
    ["apps/v1", "Deployment", "edge-ai", "jupyter"],
    ["v1", "Namespace", "", "edge-ai"],
    ["v1", "PersistentVolumeClaim", "edge-ai", "of-another-overlay"],
    ["v1", "Secret", "edge-ai", "jupyter-password-x"],
    ["traefik.io/v1alpha1", "IngressRoute", "edge-ai", "jupyter"],
]


def ready(status: str = "True", **more: str) -> dict[str, Any]:
    """The status of a Node or pod with conditions."""
    return {"conditions": [{"type": kind, "status": value} for kind, value in {"Ready": status, **more}.items()]}


def node(name: str, status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A Node."""
    return {"metadata": {"name": name}, "spec": spec, "status": status or ready()}


def pod(status: dict[str, Any], **meta: Any) -> dict[str, Any]:
    """A pod, or a claim, of the name a."""
    return {"metadata": {"name": "a", "namespace": "edge-ai", **meta}, "spec": {}, "status": status}


def deployment(name: str, wanted: int = 1, made: int = 1, probe: str = "/login") -> dict[str, Any]:
    """A Deployment whose pods are asked for the path `probe`."""
    container = {"name": "c", "readinessProbe": {"httpGet": {"path": probe}}}
    return {
        "metadata": {"name": name, "namespace": "edge-ai"},
        "spec": {"replicas": wanted, "template": {"spec": {"containers": [container]}}},
        "status": {"replicas": made} if made else {},
    }


def named(*names: str) -> dict[str, Any]:
    """A list of objects."""
    return {"items": [{"metadata": {"name": name}} for name in names]}


def answers() -> dict[str, Any]:
    """A cluster in which all is well: the answer to each path."""
    return {
        "/api/v1/nodes": {"items": [node("pi-01")]},
        "/api/v1/namespaces/kube-system/pods": {"items": []},
        f"{CORE}/pods": {"items": [pod(ready())]},
        f"{APPS}/deployments": {"items": [deployment("jupyter")]},
        SYSTEM: {"items": [deployment("coredns"), deployment("traefik")]},
        f"{CORE}/configmaps/manifests-applied": {"data": {"objects": json.dumps(RECORD)}},
        f"{CORE}/services": {"items": []},
        f"{CORE}/persistentvolumeclaims": {"items": [pod({"phase": "Bound"})]},
        f"{CORE}/secrets": named("jupyter-password-x"),
        "/apis/traefik.io/v1alpha1/namespaces/edge-ai/ingressroutes": named("jupyter"),
        "/api/v1": {"resources": [{"name": "secrets", "kind": "Secret"}, {"name": "secrets/x", "kind": "Secret"}]},
        "/apis/apps/v1": {"resources": [{"name": "deployments", "kind": "Deployment"}]},
        "/apis/traefik.io/v1alpha1": {"resources": [{"name": "ingressroutes", "kind": "IngressRoute"}]},
    }


class Api:
    """The server, and what it was asked."""

    def __init__(self) -> None:
        self.answers = answers()
        self.asked: dict[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked[self.path] = self.headers["Accept"]
                # A line, as each event of a watch is.
                body = json.dumps(outer.answers.get(self.path, {"code": 404})).encode() + b"\n"
                self.send_response(200 if self.path in outer.answers else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def kubeconfig(self) -> str:
        """As JSON, which is YAML."""
        cluster = {"name": "c", "cluster": {"server": self.url}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        users = [{"name": "u", "user": {}}]
        return json.dumps({"clusters": [cluster], "contexts": [context], "users": users, "current-context": "c"})


@contextmanager
def serving() -> Iterator[Api]:
    """An API that answers until the end."""
    found = Api()
    threading.Thread(target=found.server.serve_forever, daemon=True).start()
    yield found
    found.server.shutdown()
    found.server.server_close()
