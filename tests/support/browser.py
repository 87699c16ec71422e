"""Debian's Chromium, driven by Playwright, in a home of its own, where it trusts one more CA."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from playwright.sync_api import Error, Locator, Page, expect, sync_playwright

from tests.support.paths import ROOT

CLEAN = """async (base) => {
  const headers = {"X-XSRFToken": document.cookie.match(/_xsrf=([^;]+)/)[1]};
  const sessions = await (await fetch(base + "api/sessions")).json();
  for (const each of sessions)
    for (const path of ["sessions/" + each.id, "contents/" + each.path])
      await fetch(base + "api/" + path, {method: "DELETE", headers});
}"""
SHOTS = ROOT / "results" / "browser"
ANSWERS_MS = 120_000
"""A virtual board takes its time, a kernel's first cell as well."""
COMPUTED_MS = 300_000
"""Importing TensorFlow takes a virtual board a minute."""


@contextmanager
def chromium(home: Path, ca: Path | None = None) -> Iterator[Page]:
    """A window of a new browser."""
    program = shutil.which("chromium")
    assert program, "there is no chromium: run tools/setup --browser"
    if ca:
        trust(home, ca)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            # A small /dev/shm, as in containers, is not enough for it; a proxy would not find the boards.
            args=["--disable-dev-shm-usage", "--no-proxy-server"],
            env={**os.environ, "HOME": str(home)},
        )
        page = browser.new_page(viewport={"width": 1100, "height": 700})
        page.set_default_timeout(ANSWERS_MS)
        expect.set_options(timeout=ANSWERS_MS)
        try:
            yield page
        finally:
            # Chromium has no picture of a page that it shows no more.
            with suppress(Error):
                show(page, "last")
            browser.close()


def trust(home: Path, ca: Path) -> None:
    """What docs/jupyter.md has people do on Linux."""
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True)
    certutil = ["certutil", "-d", f"sql:{database}"]
    subprocess.run([*certutil, "-N", "--empty-password"], check=True)
    subprocess.run([*certutil, "-A", "-t", "C,,", "-n", "cluster", "-i", str(ca)], check=True)


def show(page: Page, name: str) -> None:
    """Keep what is on the screen, in results/browser."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png")


def log_in(page: Page, password: str) -> None:
    """Fill in Jupyter's form."""
    page.fill("input[name=password]", password)
    page.get_by_role("button", name="Log in").click()


def lab_is_there(page: Page) -> None:
    """Wait until JupyterLab has loaded."""
    page.locator("#jupyterlab-splash").wait_for(state="detached")
    page.locator("#jp-main-dock-panel").wait_for()


def kernel_is_idle(page: Page) -> None:
    """Wait until the notebook has a kernel that computes nothing. The indicator says idle before there is one, too."""
    expect(page.locator(".jp-KernelName")).to_contain_text("Python 3")
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()


def new_notebook(page: Page) -> None:
    """Click on the launcher's first picture."""
    page.locator('.jp-LauncherCard[data-category="Notebook"]').first.click()
    kernel_is_idle(page)


def run(page: Page, code: str) -> None:
    """Write code into the last cell, and run it, again where Jupyter took nothing: the kernel may not be connected."""
    cells = page.locator(".jp-Notebook .jp-Cell")
    cell = cells.nth(cells.count() - 1)
    cell.locator(".cm-content").click()
    page.keyboard.insert_text(code)
    for _ in range(10):
        cell.locator(".cm-content").click()
        page.keyboard.press("Shift+Enter")
        with suppress(AssertionError):
            expect(cell.locator(".jp-InputPrompt")).not_to_have_text("[ ]:", timeout=5_000)
            return
    raise AssertionError(f"Jupyter did not run: {code}")


def printed(page: Page, text: str) -> Locator:
    """A cell's output."""
    return page.locator(".jp-OutputArea-output pre").filter(has_text=text)


def clean(page: Page, base: str) -> None:
    """End the kernels of the Jupyter at a path, and delete their notebooks."""
    page.evaluate(CLEAN, base)
