"""The image on the boards: the same everywhere, safe from the kubelet's cleaning, and fit for notebooks."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes import client
from kubernetes.stream import stream

NAMESPACE = "edge-ai"

#: Ends with the line "fine" after a model has been trained, saved, loaded by another, plotted and shown as HTML.
PROGRAM = """
import os, tempfile
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.chdir(tempfile.mkdtemp())
import numpy as np, tensorflow as tf, pandas as pd, matplotlib.pyplot as plt, nbformat.v4 as v4
from nbconvert import HTMLExporter
assert os.getuid() == 10001 and not os.access("/opt/venv", os.W_OK)
def model():
    layers = [tf.keras.Input((4,)), tf.keras.layers.Dense(3, activation="softmax")]
    made = tf.keras.Sequential(layers)
    made.compile("adam", "sparse_categorical_crossentropy")
    return made
data = np.ones((64, 4), "float32")
one, two = model(), model()
one.fit(data, np.zeros(64), verbose=0)
one.save_weights("w.weights.h5")
two.load_weights("w.weights.h5")
assert np.allclose(one.predict(data, verbose=0), two.predict(data, verbose=0))
plt.imshow(data)
plt.savefig("plot.png")
notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# $x^2$"), v4.new_code_cell("1")])
assert "<html" in HTMLExporter().from_notebook_node(notebook)[0]
assert "<table" in pd.DataFrame({"digit": range(10)}).to_html()
print("fine")
"""


@pytest.fixture(scope="module")
def pod(core: client.CoreV1Api) -> Any:
    """The pod of the board that predicts: it computes least."""
    return core.list_namespaced_pod(NAMESPACE, label_selector="app=prediction-instance").items[0]


def test_every_board_has_the_image_of_its_architecture_and_keeps_it(boards: dict[str, Any], pod: Any) -> None:
    reference = pod.spec.containers[0].image
    found: dict[str, set[str]] = {}
    for name, board in boards.items():
        lines = board.check_output(f"k3s ctr --namespace k8s.io images ls name=={reference}").splitlines()
        assert len(lines) == 2, f"{name} lacks {reference}"
        found.setdefault(board.check_output("uname -m"), set()).add(lines[1].split()[2])
        assert "io.cri-containerd.pinned=pinned" in lines[1], name
    assert all(len(digests) == 1 for digests in found.values()), found


def test_image_does_what_notebooks_need(core: client.CoreV1Api, pod: Any) -> None:
    said = stream(
        core.connect_get_namespaced_pod_exec,
        pod.metadata.name,
        NAMESPACE,
        command=["python", "-c", PROGRAM],
        stdout=True,
        stderr=True,
        stdin=False,
        tty=False,
        _request_timeout=180,
    )
    assert said.strip().endswith("fine"), said[-2000:]
