"""A user with a browser, who has an address and a password, and trusts the cluster's CA.

    pytest tests/default/test_browser.py

The tests are steps of one visit. They need a finished cluster with the overlay split and its Ingress, as site.yml
makes it; what they see is in results/browser.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Error, Page, expect

from tests.support.browser import (
    COMPUTED_MS,
    chromium,
    clean,
    kernel_is_idle,
    lab_is_there,
    log_in,
    new_notebook,
    printed,
    run,
    show,
)
from tests.support.cluster import CLUSTER

BOARD = CLUSTER.hosts("k3s_servers")[0]
URL = f"https://{CLUSTER.address(BOARD)}/training/"
SECRETS = CLUSTER.path("cluster_secrets_dir")
CELL = """import tensorflow as tf
import matplotlib.pyplot as plt
squares = tf.square(tf.range(5.0))
plt.figure(figsize=(5, 2.5))
plt.plot(squares)
print("sum", int(tf.reduce_sum(squares)))"""
NOTEBOOK = "browser-test.ipynb"

sockets: list[str] = []


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("home"), SECRETS / "ingress-ca.crt") as page:
        page.on("websocket", lambda socket: sockets.append(socket.url))
        yield page


def test_01_a_browser_that_does_not_know_the_ca_warns(tmp_path: Path) -> None:
    with chromium(tmp_path) as stranger, pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
        stranger.goto(URL)


def test_02_one_that_trusts_it_shows_the_login(page: Page) -> None:
    page.goto(URL)
    expect(page.locator("input[name=password]")).to_be_visible()
    show(page, "login")


def test_03_a_wrong_password_is_refused(page: Page) -> None:
    log_in(page, "guess")
    expect(page.get_by_text("Invalid credentials")).to_be_visible()
    show(page, "wrong-password")


def test_04_the_password_opens_jupyter(page: Page) -> None:
    log_in(page, (SECRETS / "jupyter-password").read_text().strip())
    lab_is_there(page)
    expect(page.locator(".jp-DirListing-item").filter(has_text="notebooks")).to_be_visible()
    show(page, "start")


def test_05_a_cell_imports_tensorflow_and_draws(page: Page) -> None:
    new_notebook(page)
    run(page, CELL)
    expect(printed(page, "sum 30")).to_be_visible(timeout=COMPUTED_MS)
    plot = page.locator(".jp-OutputArea-output img")
    expect(plot).to_be_visible(timeout=COMPUTED_MS)
    assert plot.evaluate("image => image.naturalWidth") > 100
    assert [url for url in sockets if re.match(URL.replace("https:", "wss:") + "api/kernels/.*/channels", url)], sockets
    # It asks for a name when an untitled notebook is saved.
    page.keyboard.press("Control+s")
    page.get_by_placeholder("File name").fill(NOTEBOOK)
    page.keyboard.press("Enter")
    expect(page.locator(".jp-DirListing-item").filter(has_text=NOTEBOOK)).to_be_visible()
    show(page, "notebook")


def test_06_reloading_the_page_keeps_the_kernel(page: Page) -> None:
    page.reload()
    lab_is_there(page)
    kernel_is_idle(page)
    expect(page.locator(".jp-OutputArea-output img")).to_be_visible()
    run(page, 'print("mean", float(tf.reduce_mean(squares)))')
    expect(printed(page, "mean 6.0")).to_be_visible()
    show(page, "reloaded")


def test_07_who_logs_out_is_out(page: Page) -> None:
    clean(page, "/training/")
    page.get_by_role("menuitem", name="File").click()
    page.get_by_role("menuitem", name="Log Out").click()
    page.wait_for_url("**/logout**")
    expect(page.get_by_text("Successfully logged out")).to_be_visible()
    page.goto(URL)
    expect(page.locator("input[name=password]")).to_be_visible()
    answer = page.goto(f"{URL}api/contents")
    assert answer
    assert answer.status == 403
