"""Ten people with a Jupyter each by the overlay hub, on two boards.

    pytest -x -s tests/ingress/test_users_of_the_hub.py

The tests are steps. They begin with a cluster that site.yml has finished, whichever its overlay, and end with split.
"""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.support.cluster import CLUSTER, connect
from tests.support.hub import (
    HOME_MB,
    SECRETS,
    SERVER,
    USERS,
    api,
    inside,
    log_in,
    logged_in,
    overlay,
    password,
    pods,
    start,
    url,
    visitor,
)
from tests.support.plays import Plays, lab, unchanged
from tests.support.watch import NAMESPACE, core, ready_nodes, wait_until

# One of these is without power in a step.
BOARDS = ("pi-02", "pi-03")
WORKLOAD = "playbooks/stages/workload.yml"

sessions: dict[str, requests.Session] = {}


def status(user: str) -> int:
    return api(sessions[user], user, "contents?content=0").status_code


def test_00_ten_people_get_passwords_and_a_hub(plays: Plays) -> None:
    plays.run("site, hub", "site.yml", *overlay(USERS))
    unchanged(plays.run("site, hub, again", "site.yml", *overlay(USERS)))
    unchanged(plays.run("site, hub, --check", "site.yml", *overlay(USERS), "--check"))
    assert len({password(user) for user in USERS}) == len(USERS)
    assert {(SECRETS / "hub" / user).stat().st_mode & 0o777 for user in USERS} == {0o600}


def test_01_a_wrong_password_and_an_unknown_name_look_alike() -> None:
    for user, secret in ((USERS[0], "guess"), ("nobody", "guess"), (USERS[0], password(USERS[1]))):
        assert log_in(user, secret)[1] == 403
    # Guesses are limited at the form: nothing else takes a password, not even the right one.
    asked = {"auth": {"username": USERS[0], "password": password(USERS[0])}}
    assert visitor().post(url(f"/hub/api/users/{USERS[0]}/tokens"), json=asked, timeout=60).status_code == 403
    # The hub asks for a login, and a Jupyter that runs refuses.
    answer = visitor().get(url(f"/user/{USERS[0]}/api/contents"), timeout=60)
    assert answer.url.startswith(url("/hub/login")) or answer.status_code == 403


def test_02_each_gets_a_jupyter_on_the_board_of_their_choice() -> None:
    for user in USERS:
        sessions[user] = logged_in(user)
    assert all(cookie.secure for cookie in sessions[USERS[0]].cookies if cookie.name.startswith("jupyterhub"))
    with ThreadPoolExecutor(len(USERS)) as pool:
        list(pool.map(lambda each: start(sessions[each[1]], each[1], BOARDS[each[0] % 2]), enumerate(USERS)))
    assert {user: pod.spec.node_name for user, pod in pods().items()} == {
        user: BOARDS[number % 2] for number, user in enumerate(USERS)
    }


def test_02_the_status_page_is_behind_the_hubs_login_and_names_nobody() -> None:
    stranger = visitor().get(url("/"), timeout=60)
    assert (stranger.status_code, stranger.url) == (403, url("/hub/status"))
    page = sessions[USERS[0]].get(url("/"), timeout=60)
    assert page.status_code == 200
    assert all(board in page.text for board in (SERVER, *BOARDS))
    assert page.text.count("Jupyter of a user") == len(USERS)
    assert not [user for user in USERS if f"user-{user}" in page.text]


def test_03_homes_are_apart_and_what_is_shared_is_read_only() -> None:
    for user in USERS[:2]:
        note = {"type": "file", "format": "text", "content": f"of {user}"}
        assert api(sessions[user], user, f"contents/home/{user}/note.txt", json=note).status_code in (200, 201)
        assert api(sessions[user], user, "contents/notebooks/note.txt", json=note).status_code >= 400
    one, other = USERS[:2]
    assert api(sessions[one], one, f"contents/home/{other}/note.txt").status_code == 404
    assert inside(one, "ls", "/books/home").split() == [one]
    assert "training.ipynb" in inside(one, "ls", "/books/notebooks")
    assert "Read-only" in inside(one, "touch", "/books/notebooks/x")
    # A user who is no admin, at another one's address.
    assert api(sessions[other], one, "contents?content=0").status_code in (302, 403)
    home = f"/srv/books/home/{one}"
    assert connect(CLUSTER.hosts("nfs_servers")[0]).run(f"sudo cat {home}/note.txt").stdout == f"of {one}"


def fill(user: str, mebibytes: int) -> str:
    """What dd says of writing a file into a user's home, and on to the server's disk."""
    file = f"of=/books/home/{user}/big"
    return inside(user, "dd", "if=/dev/zero", file, "bs=1M", f"count={mebibytes}", "conv=fsync")


def test_03_a_full_home_stops_nobody_else() -> None:
    one, other = USERS[:2]
    assert "quota exceeded" in fill(one, 2 * HOME_MB)
    assert inside(one, "df", "--output=size", "-m", f"/books/home/{one}").split()[-1] == str(HOME_MB)
    assert HOME_MB - 2 <= int(inside(one, "du", "--summarize", "-m", f"/books/home/{one}").split()[0]) <= HOME_MB
    assert "copied" in fill(other, 1)
    inside(one, "rm", f"/books/home/{one}/big")
    assert "copied" in fill(one, 1)


def test_04_pods_of_people_have_no_rights() -> None:
    pod = pods()[USERS[0]]
    assert inside(USERS[0], "id", "-u").strip() == "10001"
    assert "No such file" in inside(USERS[0], "ls", "/var/run/secrets/kubernetes.io")
    assert pod.spec.containers[0].security_context.read_only_root_filesystem
    assert pod.spec.containers[0].resources.limits["memory"] == "524288k"


def test_05_the_hub_restarts_and_nobody_is_cut_off() -> None:
    before = {user: pod.metadata.uid for user, pod in pods().items()}
    (hub,) = core().list_namespaced_pod(NAMESPACE, label_selector="app.kubernetes.io/name=hub").items
    core().delete_namespaced_pod(hub.metadata.name, NAMESPACE)
    end, found = time.monotonic() + 60, set()
    while time.monotonic() < end:
        found |= {status(user) for user in USERS[:3]}
        time.sleep(1)
    assert found == {200}
    wait_until("the hub is back", 180, lambda: visitor().get(url("/hub/health"), timeout=30).status_code == 200)
    assert sessions[USERS[0]].get(url("/hub/home"), timeout=60).url == url("/hub/home")
    assert {user: pod.metadata.uid for user, pod in pods().items()} == before


def test_06_whoever_is_removed_or_has_another_password_is_out_and_nobody_else(plays: Plays) -> None:
    gone, changed, kept = USERS[-1], USERS[-2], USERS[:-2]
    before = {user: pod.metadata.uid for user, pod in pods().items()}
    for name in (changed, f"{changed}.argon2"):
        (SECRETS / "hub" / name).unlink()
    begun = time.monotonic()
    plays.run("a user is removed, another gets a new password", WORKLOAD, *overlay(USERS[:-1]))
    print(f"out after {time.monotonic() - begun:.0f} s")
    wait_until("their pods are gone", 60, lambda: not {gone, changed} & set(pods()))
    assert time.monotonic() - begun < 300
    for user in (gone, changed):
        assert sessions[user].get(url("/hub/home"), timeout=60).url.startswith(url("/hub/login"))
        assert status(user) != 200
    assert log_in(gone, password(gone))[1] in (403, 429)
    assert {user: before[user] for user in kept} == {user: pods()[user].metadata.uid for user in kept}
    assert {status(user) for user in kept} == {200}
    sessions[changed] = logged_in(changed)
    unchanged(plays.run("the same again", WORKLOAD, *overlay(USERS[:-1])))


def test_07_a_board_without_power_costs_its_people_a_new_start() -> None:
    spared, user = USERS[:2]
    other, board = BOARDS
    assert pods()[user].spec.node_name == board
    lab("power", "off", "--hard", board)
    begun = time.monotonic()
    assert status(spared) == 200
    # The hub gives the pod up by itself.
    wait_until("the hub knows", 300, lambda: user not in pods())
    print(f"given up after {time.monotonic() - begun:.0f} s")
    start(sessions[user], user, other)
    assert "of " + user in inside(user, "cat", f"/books/home/{user}/note.txt")
    lab("power", "on", board)
    wait_until(f"{board} is ready", 240, lambda: ready_nodes()[board])


def test_08_the_servers_reboot_costs_no_login() -> None:
    # Not at once: it would end this connection too, before it has answered.
    connect(SERVER).check_output("sudo systemd-run --on-active=2 systemctl reboot")
    time.sleep(20)
    wait_until("the hub is back", 420, lambda: visitor().get(url("/hub/health"), timeout=10).status_code == 200)
    assert sessions[USERS[0]].get(url("/hub/home"), timeout=60).url == url("/hub/home")
    wait_until("a Jupyter on another board answers", 240, lambda: status(USERS[0]) == 200)


def test_09_the_check_says_what_homes_hold(plays: Plays) -> None:
    step = plays.run("check, hub", "playbooks/check.yml", *overlay(USERS[:-1]))
    unchanged(step)
    assert re.search(rf"home of {USERS[0]}: \d+ of {HOME_MB} MB", step.output)


def test_10_idle_jupyters_end(plays: Plays) -> None:
    plays.run("short time for idle Jupyters", WORKLOAD, *overlay(USERS[:-1], manifests_idle_timeout=60))
    user = USERS[0]
    session = logged_in(user)
    core().delete_namespaced_pod(pods()[user].metadata.name, NAMESPACE)
    wait_until("the hub knows", 120, lambda: user not in pods())
    start(session, user, BOARDS[0])
    wait_until("it has ended", 300, lambda: user not in pods())


@pytest.mark.parametrize("to", ["combined", "lite", "split"])
def test_11_other_overlays_take_the_hub_away_and_no_home(plays: Plays, to: str) -> None:
    plays.run("site, hub, before another overlay", WORKLOAD, *overlay(USERS[:-1]))
    profiles = {"notebooks_profiles": ["fast", "lite"] if to == "lite" else ["fast"], "manifests_overlay": to}
    options = ("-e", f"'{json.dumps(profiles)}'")
    plays.run(f"from hub to {to}", WORKLOAD, *options)
    unchanged(plays.run(f"from hub to {to}, again", WORKLOAD, *options))
    assert not pods()
    names = {each.metadata.name for each in core().list_namespaced_service(NAMESPACE).items}
    assert not {"hub", "proxy", "proxy-api"} & names
    board = connect(CLUSTER.hosts("nfs_servers")[0])
    assert board.run(f"sudo cat /srv/books/home/{USERS[0]}/note.txt").stdout == f"of {USERS[0]}"
