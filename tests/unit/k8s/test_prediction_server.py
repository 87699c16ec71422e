"""The server of the overlay lite: what it answers before there is a model, with one, and to whom it answers nothing."""

from __future__ import annotations

import http.client
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import programs
from tests.support.paths import ROOT

RUN = "20261122T021530Z-1a2b3c4d"
ZERO = bytes(784)

Ask = Callable[..., tuple[int, dict[str, Any]]]


class Network:
    """Stands for LiteRT, which the control node does not have: it predicts the digit that its file contains."""

    def __init__(self, file: Path) -> None:
        self.digit = int(file.read_bytes())

    def __call__(self, images: np.ndarray) -> np.ndarray:
        assert images.shape == (1, 28, 28) and images.dtype == np.uint8
        return np.eye(10, dtype=np.float32)[[self.digit]]


@pytest.fixture
def ask(edge: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """Asks a running server whose shared data is in tmp_path."""
    serve: Any = programs.load(ROOT / "k8s/overlays/lite/prediction/serve.py")
    monkeypatch.setattr(serve, "SHARED", tmp_path)
    monkeypatch.setattr(edge, "LiteModel", Network)
    monkeypatch.setenv("NODE_NAME", "pi-03")
    server = serve.server(0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def answer(path: str, content: bytes | None = None) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
        connection.request("GET" if content is None else "POST", path, content)
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    yield answer
    server.shutdown()
    thread.join()
    server.server_close()


def publish(edge: Any, shared: Path, digit: int) -> Path:
    """A model as training publishes it, and its path."""
    path: Path = shared / "weights" / edge.MODELS["lite"]
    (local := shared / "local").write_text(str(digit))
    edge._publish_model(local, RUN, [path])
    os.utime(path, ns=(digit, digit))
    return path


def test_it_runs_without_a_model_and_says_what_is_missing(ask: Ask) -> None:
    assert ask("/healthz") == (200, {"status": "running"})
    status, answer = ask("/predict", ZERO)
    assert status == 503
    assert answer["error"].startswith("there is no model yet: execute training.ipynb with the profile fast")


def test_newest_model_predicts(ask: Ask, edge: Any, tmp_path: Path) -> None:
    for digit in (3, 7):
        digest = edge.sha256(publish(edge, tmp_path, digit))
        status, answer = ask("/predict", ZERO)
        assert (status, answer["digit"], answer["weights_sha256"]) == (200, digit, digest)
        assert answer["node"] == "pi-03" and len(answer["probabilities"]) == 10


def test_model_that_training_did_not_record_is_not_used(
    ask: Ask, edge: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(edge.time, "monotonic", iter(range(0, 1000, 10)).__next__)
    publish(edge, tmp_path, 3).write_text("4")
    status, answer = ask("/predict", ZERO)
    assert status == 503
    assert "these are not the weights of training" in answer["error"]


@pytest.mark.parametrize("path", ["/", "/images/", "/images/1e3", "/images/-1", "/images/123456", "/images/%B2", "/x"])
def test_other_paths_are_refused(ask: Ask, path: str) -> None:
    assert ask(path)[0] == 404


@pytest.mark.parametrize("content", [b"", bytes(783), bytes(785)])
def test_other_lengths_are_refused(ask: Ask, content: bytes) -> None:
    status, answer = ask("/predict", content)
    assert status == 400
    assert "784 bytes" in answer["error"]
