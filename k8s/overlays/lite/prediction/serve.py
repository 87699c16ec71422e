"""Predicts digits over HTTP with the newest model of the profile lite: the program of the pods of this overlay.

    GET  /images/10    test image number 10: the predicted digit, its label, ten probabilities
    POST /predict      784 bytes, the grey levels of an image of 28 x 28 pixels row by row
    GET  /healthz      whether the server runs; it may have no model yet

Answers are JSON, and name the node and the pod: a Service spreads requests over several of them. The notebooks'
helper code in /books verifies the model by the digest that training recorded, here as in the notebook.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SHARED = Path(os.environ.get("SHARED_DATA", "/books"))
PIXELS = 28 * 28
#: Most digits of an image's number.
NUMBER_LENGTH = 5


class NoModel(Exception):
    """Nothing can be predicted yet; the message says what is missing."""


class Model:
    """The newest model that training published, loaded again when there is a newer one, and the test images."""

    def __init__(self) -> None:
        # LiteRT's interpreter computes for one thread at a time.
        self._lock = threading.Lock()
        self._published = 0
        self._predict: Any = None
        self._digest = ""
        self._images: Any = None
        self._labels: Any = None

    def _load(self) -> Any:
        """The module of helpers, with the newest model loaded. Raises NoModel."""
        try:
            # In a new cluster the notebooks come after the pods.
            importlib.invalidate_caches()
            edge = importlib.import_module("edge_notebooks")
            path = SHARED / "weights" / edge.MODELS["lite"]
            published = path.stat().st_mtime_ns
        except (ImportError, OSError) as error:
            raise NoModel(f"there is no model yet: execute training.ipynb with the profile fast ({error})") from None
        if published != self._published:
            try:
                with edge.trained_weights(SHARED, path) as (file, digest):
                    self._predict, self._digest = edge.LiteModel(file), digest
            except edge.shared_data.Refused as error:
                raise NoModel(str(error)) from None
            self._published = published
        return edge

    def predict(self, content: bytes) -> dict[str, Any]:
        """The answer for one image of PIXELS grey levels. Raises NoModel."""
        with self._lock:
            self._load()
            import numpy as np

            found = self._predict(np.frombuffer(content, dtype=np.uint8).reshape(1, 28, 28))[0]
            return {
                "digit": int(found.argmax()),
                "probabilities": [round(float(one), 6) for one in found],
                "weights_sha256": self._digest,
                "pod": socket.gethostname(),
                "node": os.environ.get("NODE_NAME", ""),
            }

    def test_image(self, number: int) -> tuple[bytes, int]:
        """A test image and its label. Raises NoModel, IndexError."""
        with self._lock:
            edge = self._load()
            if self._images is None:
                try:
                    self._images, self._labels = edge.load_images(SHARED / "data" / "mnist", "t10k")
                except edge.shared_data.Refused as error:
                    raise NoModel(str(error)) from None
            return self._images[number].tobytes(), int(self._labels[number])


class Handler(BaseHTTPRequestHandler):
    """One connection. Seconds without a byte that end it: `timeout`."""

    protocol_version = "HTTP/1.1"
    timeout = 10
    model: Model

    def do_GET(self) -> None:
        """Answer /healthz and /images/NUMBER."""
        number = self.path.removeprefix("/images/")
        if self.path == "/healthz":
            self._answer(HTTPStatus.OK, {"status": "running"})
        elif number != self.path and number.isascii() and number.isdigit() and len(number) <= NUMBER_LENGTH:
            self._predict(int(number))
        else:
            self._answer(HTTPStatus.NOT_FOUND, {"error": "use GET /images/NUMBER or POST /predict"})

    def do_POST(self) -> None:
        """Answer /predict."""
        length = self.headers.get("Content-Length", "")
        if self.path != "/predict":
            self._answer(HTTPStatus.NOT_FOUND, {"error": "use GET /images/NUMBER or POST /predict"}, close=True)
        elif length != str(PIXELS):
            error = f"an image has {PIXELS} bytes: the grey levels of 28 x 28 pixels row by row"
            self._answer(HTTPStatus.BAD_REQUEST, {"error": error}, close=True)
        elif len(content := self.rfile.read(PIXELS)) == PIXELS:
            self._predict(content)
        else:
            self.close_connection = True

    def _predict(self, image: bytes | int) -> None:
        answer: dict[str, Any] = {}
        try:
            if isinstance(image, int):
                image, answer["label"] = self.model.test_image(image)
            self._answer(HTTPStatus.OK, answer | self.model.predict(image))
        except IndexError:
            self._answer(HTTPStatus.NOT_FOUND, {"error": f"there is no test image {image!r}"})
        except NoModel as error:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, {"error": str(error)})

    def _answer(self, status: HTTPStatus, answer: dict[str, Any], close: bool = False) -> None:
        content = json.dumps(answer).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if close:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Probes and predictions are not logged, errors are."""


def server(port: int) -> ThreadingHTTPServer:
    """The server, not yet running."""
    sys.path.append(str(SHARED / "notebooks"))
    Handler.model = Model()
    return ThreadingHTTPServer(("", port), Handler)


if __name__ == "__main__":
    server(8888).serve_forever()
