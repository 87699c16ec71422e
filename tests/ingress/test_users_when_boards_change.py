"""People of the hub while a board joins and leaves, all are upgraded, and the server's card is lost.

    pytest -x -s tests/ingress/test_users_when_boards_change.py

The tests are steps, and the last ones of the scenario: the cluster has the next version of k3s afterwards.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.support.browser import chromium, lab_is_there, show
from tests.support.hub import (
    HOME_MB,
    SECRETS,
    SERVER,
    STARTED_S,
    USERS,
    inside,
    logged_in,
    overlay,
    password,
    pods,
    start,
    url,
)
from tests.support.plays import KEY, NEXT, ON_NEXT, Plays, cards_die, lab
from tests.support.watch import core, wait_until

NEW, STAYS = "pi-05", "pi-02"
HUB = overlay(USERS[:2])

sessions: dict[str, requests.Session] = {}


def is_logged_in(user: str) -> bool:
    answer = sessions[user].get(url("/hub/home"), timeout=60)
    return (answer.status_code, answer.url) == (200, url("/hub/home"))


def note(user: str) -> str:
    return inside(user, "cat", f"/books/home/{user}/kept.txt").strip()


def start_in_a_browser(page: Page, user: str) -> None:
    """Log in, choose a board, and wait for Jupyter, as docs/jupyter.md says."""
    page.goto(url("/hub/login"))
    page.fill("#username_input", user)
    page.fill("#password_input", password(user))
    page.click("#login_submit")
    page.locator(f"label[for=profile-item-board-{STAYS}]").click()
    show(page, "hub-boards")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(f"**/user/{user}/lab**", timeout=STARTED_S * 1000)
    lab_is_there(page)


def test_00_two_work(plays: Plays, tmp_path: Path) -> None:
    plays.run("site, hub", "site.yml", *HUB)
    for user in USERS[:2]:
        with chromium(tmp_path / user, SECRETS / "ingress-ca.crt") as page:
            start_in_a_browser(page, user)
            inside(user, "sh", "-c", f"echo of {user} > /books/home/{user}/kept.txt")
            expect(page.locator(".jp-DirListing-item").filter(has_text="kept.txt")).to_be_visible()
            show(page, "hub-home")
            page.goto(url(f"/user/{user}/lab/tree/home"))
            lab_is_there(page)
            # No other home is there, and no other Jupyter is open to who is no admin.
            expect(page.locator(".jp-DirListing-item")).to_have_text([re.compile(user)])
            if user != USERS[0]:
                answer = page.goto(url(f"/user/{USERS[0]}/lab"))
                assert answer
                assert answer.status == 403
        sessions[user] = logged_in(user)


def test_01_a_board_that_joined_can_be_chosen(plays: Plays) -> None:
    before = {user: pod.metadata.uid for user, pod in pods().items()}
    plays.run("add-node, hub", "add-node.yml", "-l", NEW, *HUB)
    assert {user: pod.metadata.uid for user, pod in pods().items()} == before
    user = USERS[0]
    core().delete_namespaced_pod(pods()[user].metadata.name, "edge-ai")
    wait_until("the hub knows", 120, lambda: user not in pods())
    start(sessions[user], user, NEW)
    assert pods()[user].spec.node_name == NEW
    assert note(user) == f"of {user}"


def test_02_a_board_that_leaves_costs_its_users_a_new_start_and_no_login(plays: Plays) -> None:
    user, other = USERS[:2]
    before = pods()[other].metadata.uid
    plays.run("remove-node, hub", "playbooks/remove-node.yml", "-l", NEW, *HUB)
    assert pods()[other].metadata.uid == before
    wait_until("the hub knows", 120, lambda: user not in pods())
    assert is_logged_in(user)
    offered = sessions[user].get(url("/hub/spawn"), timeout=60).text
    # What was chosen last time is in the page, too.
    assert f'id="profile-item-board-{STAYS}"' in offered
    assert f'id="profile-item-board-{NEW}"' not in offered
    start(sessions[user], user, STAYS)
    assert note(user) == f"of {user}"


def test_03_an_upgrade_costs_no_login(plays: Plays) -> None:
    lab("build", "k3s-next")
    plays.run("upgrade, hub", "playbooks/upgrade.yml", *HUB, *ON_NEXT)
    assert {node.status.node_info.kubelet_version for node in core().list_node().items} == {NEXT}
    assert [user for user in USERS[:2] if not is_logged_in(user)] == []
    for user in USERS[:2]:
        # Drained boards end what runs there.
        wait_until(f"the hub knows of {user}", 120, lambda user=user: user not in pods())  # type: ignore[misc]
        start(sessions[user], user, STAYS)
        assert note(user) == f"of {user}"


@pytest.mark.parametrize("playbook", ["site.yml", "playbooks/check.yml"])
def test_04_nothing_is_left_to_do(plays: Plays, playbook: str) -> None:
    step = plays.run(f"{playbook} after the upgrade, hub", playbook, *HUB, *ON_NEXT)
    assert not step.changed_hosts()


def test_05_a_restore_keeps_logins_homes_and_their_limits(plays: Plays) -> None:
    """The card of the server is lost, with the hub's database and the export."""
    plays.run("backup, hub", "playbooks/backup.yml", *HUB, *ON_NEXT, *KEY)
    cards_die(SERVER)
    plays.run("restore, hub", "playbooks/restore.yml", *HUB, *ON_NEXT, *KEY, "-e", "restore_from=latest")
    for user in USERS[:2]:
        # The first request may be on a connection of before.
        wait_until(f"the hub knows {user}", 180, lambda user=user: is_logged_in(user))  # type: ignore[misc]
    user = USERS[0]
    # Pods that had mounted the lost export are stopped.
    wait_until("the hub knows", 180, lambda: user not in pods())
    start(sessions[user], user, STAYS)
    assert note(user) == f"of {user}"
    assert inside(user, "df", "--output=size", "-m", f"/books/home/{user}").split()[-1] == str(HOME_MB)
