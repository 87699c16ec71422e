"""A board's state from its answer over ssh; the meaning of cloud-init's exit status."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.action import flash_login
from ansible_collections.edge_ai.cluster.plugins.module_utils.flash.ssh import (
    BoardStatus,
    Login,
    advice,
    key_problem,
    parse_status,
    query,
)
from ansible_collections.edge_ai.cluster.plugins.modules import flash_info
from ansible_collections.edge_ai.cluster.plugins.modules import flash_wait as wait

LOGIN = Login("192.0.2.1", "pi", "key", "known_hosts")
WANTED = "pi-01-0123456789ab"
META = f"instance-id: {WANTED}\nedge-ai-image: aaa\nedge-ai-user-data: bbb\n"


def status_of(
    identity: str = WANTED, result: str = '{"v1": {"errors": []}}', keys: str = "", meta: str = META
) -> BoardStatus:
    return parse_status(
        f"==> /var/lib/cloud/data/instance-id\n{identity}\n\n==> /run/cloud-init/result.json\n{result}\n\n"
        f"==> /boot/firmware/meta-data\n{meta}\n==> keys\n{keys}\n==> end\n"
    )


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (status_of(), "ready"),
        (status_of(result=""), "booting"),
        (status_of(result='{"v1": {"errors": ["failed: runcmd"]}}'), "booting"),
        (status_of(result="not json"), "booting"),
        (status_of(keys="/boot/firmware/host-key"), "booting"),
        (status_of(identity="pi-01-ffffffffffff"), "other"),
        (status_of(identity="nocloud"), "other"),
        (status_of(identity=""), "other"),
        (BoardStatus(reached=False, error="192.0.2.1 port 22 is unreachable"), "down"),
        (BoardStatus(reached=True, error="pi@192.0.2.1: Permission denied (publickey)."), "refused"),
        (BoardStatus(reached=True, error="Host key verification failed."), "refused"),
        (BoardStatus(reached=True, error="System is booting up. Unprivileged users are not permitted"), "booting"),
        (BoardStatus(reached=True, error="ssh ended with 255"), "booting"),
        (BoardStatus(reached=True, error="Connection closed by 192.0.2.1 port 22"), "booting"),
    ],
)  # fmt: skip
def test_states(status: BoardStatus, state: str) -> None:
    assert flash_info.board_state(status, WANTED, META, False, LOGIN)[0] == state


def test_board_with_another_seed_reports_what_changed() -> None:
    status = status_of(identity="pi-01-ffffffffffff", meta=META.replace("aaa", "ccc"))
    assert flash_info.board_state(status, WANTED, META, False, LOGIN)[1].endswith("changed since: image")


def test_board_of_another_network_names_the_playbook_for_it() -> None:
    meta = f"{META}edge-ai-network-config: ddd\n"
    status = status_of(identity="pi-01-ffffffffffff", meta=meta.replace("ddd", "eee"))
    detail = flash_info.board_state(status, WANTED, meta, False, LOGIN)[1]
    assert "changed since: network-config. " in detail and "playbooks/readdress.yml" in detail


def test_board_flashed_by_hand_needs_no_identity() -> None:
    assert flash_info.board_state(status_of(identity="", result=""), WANTED, META, True, LOGIN)[0] == "ready"
    assert flash_info.board_state(status_of(identity="rpi-imager-17"), WANTED, META, True, LOGIN)[0] == "ready"
    assert (
        flash_info.board_state(status_of(identity="rpi-imager-17", result=""), WANTED, META, True, LOGIN)[0]
        == "booting"
    )


def test_unreachable_board_is_not_an_error() -> None:
    assert query(Login("127.0.0.1", "pi", "key", "known_hosts", port=9), connect_timeout=1).reached is False


def test_board_that_is_slow_to_answer_is_not_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ssh"
    program.write_text('#!/bin/sh\necho "$*" >&2\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with socket.create_server(("127.0.0.1", 0)) as server:
        login = Login("127.0.0.1", "pi", "key", "known_hosts", port=server.getsockname()[1])
        assert "ConnectTimeout=30" in query(login, connect_timeout=1).error


def key(path: Path, passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)], check=True)
    return path


def test_a_failed_login_can_be_tried_by_hand() -> None:
    text = advice("kex_exchange_identification: Connection reset", replace(LOGIN, port=2222))
    assert text == "try it: ssh -i key -p 2222 -o UserKnownHostsFile=known_hosts pi@192.0.2.1"


def test_a_refused_key_is_named_with_its_user(tmp_path: Path) -> None:
    path = key(tmp_path / "id")
    text = advice("Permission denied (publickey).", replace(LOGIN, key=str(path)))
    assert f"does not accept {path} for the user pi" in text
    assert f"ssh-copy-id -i {path} pi@192.0.2.1" in text


def test_without_a_key_the_agent_is_named() -> None:
    assert "no key of ssh-agent or ~/.ssh for the user pi" in advice("Permission denied", replace(LOGIN, key=""))


def test_a_key_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    assert f"{tmp_path}/id: there is no such file" in advice("Permission denied", replace(LOGIN, key=f"{tmp_path}/id"))


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An ssh-agent of its own; every passphrase is `secret`."""
    socket = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    while not socket.exists():
        time.sleep(0.01)
    ask = tmp_path / "ask"
    ask.write_text("#!/bin/sh\necho secret\n")
    ask.chmod(0o755)
    for name, value in (("SSH_AUTH_SOCK", socket), ("SSH_ASKPASS", ask), ("SSH_ASKPASS_REQUIRE", "force")):
        monkeypatch.setenv(name, str(value))
    yield
    process.terminate()
    process.wait()


def test_a_key_with_a_passphrase_must_be_in_the_agent(tmp_path: Path, agent: None) -> None:
    path = key(tmp_path / "id", "secret")
    private, public = key_problem(str(path)), key_problem(f"{path}.pub")
    assert private and private[0] == "it has a passphrase, and ssh-agent does not hold it"
    assert public and public[0] == "a public key, and ssh-agent does not hold it"
    assert private[1].endswith(f"ssh-add {path}") and public[1] == private[1]
    subprocess.run(["ssh-add", "-q", str(path)], check=True)
    assert key_problem(str(path)) is None
    assert key_problem(f"{path}.pub") is None


def test_a_file_that_is_no_key_is_reported(tmp_path: Path) -> None:
    (tmp_path / "id").write_text("no key\n")
    problem = key_problem(str(tmp_path / "id"))
    assert problem and problem[0].startswith("not a usable key (")


def test_a_login_is_what_ansible_s_variables_say() -> None:
    login = Login.of({"address": "192.0.2.1", "user": "pi", "key": "", "known_hosts": "k", "port": "22"})
    assert (login.port, login.args, login.names) == (22, (), ())
    login = Login.of({**asdict(login), "args": "-o 'ProxyJump=me@192.0.2.9' -o A=b", "names": ["192.0.2.1", "pi-01"]})
    assert login.args == ("-o", "ProxyJump=me@192.0.2.9", "-o", "A=b")


# A program named ssh that shows a host key, and lets in where that is in known_hosts, as ssh does.
SSH = """#!/usr/bin/env python3
import sys
options = dict(one.split("=", 1) for one in sys.argv[1:] if "=" in one)
shown = {key!r}
known, policy = options["UserKnownHostsFile"], options["StrictHostKeyChecking"]
try:
    lines = open(known).read().splitlines()
except FileNotFoundError:
    lines = []
if policy == "accept-new":
    open(known, "w").write("192.0.2.1 " + shown + chr(10))
    sys.exit("Permission denied (publickey).")
if not any(line.endswith(shown) and "192.0.2.1" in line.split()[0].split(",") for line in lines):
    sys.exit("Host key verification failed.")
print("==> /var/lib/cloud/data/instance-id\\nrpi-imager-17\\n==> end")
"""


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The host key that a board shows."""
    shown = " ".join(key(tmp_path / "host").with_suffix(".pub").read_text().split()[:2])
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(SSH.format(key=shown))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("ansible_collections.edge_ai.cluster.plugins.module_utils.flash.ssh.port_open", lambda *_: True)
    return shown


def printed(path: Path) -> str:
    """The fingerprint that ssh-keygen prints."""
    command = ["ssh-keygen", "-lf", str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[1]


def test_an_unknown_host_key_is_shown_with_what_adds_it_and_not_added(tmp_path: Path, shown: str) -> None:
    known = tmp_path / "secrets" / "known_hosts"
    login = replace(LOGIN, known_hosts=str(known))
    status = query(login)
    assert status.error == "Host key verification failed."
    assert f"-e flash_host_key_fingerprint={printed(tmp_path / 'host.pub')}" in advice(status.error, login)
    assert not known.exists()


def test_a_host_key_with_the_given_fingerprint_is_added(tmp_path: Path, shown: str) -> None:
    known = tmp_path / "secrets" / "known_hosts"
    given = printed(tmp_path / "host.pub")
    login = replace(LOGIN, known_hosts=str(known), names=("192.0.2.1", "pi-01"), fingerprint=given)
    assert query(login).instance_id == "rpi-imager-17"
    assert known.read_text() == f"192.0.2.1,pi-01 {shown}\n"
    assert (known.stat().st_mode & 0o777, known.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    # Another key replaces it in the same way; other boards' entries stay.
    known.write_text("192.0.2.2,pi-02 ssh-ed25519 AAAA\n192.0.2.1,pi-01 ssh-ed25519 BBBB\n")
    assert query(login).reached
    assert known.read_text() == f"192.0.2.1,pi-01 {shown}\n192.0.2.2,pi-02 ssh-ed25519 AAAA\n"


def test_a_host_key_with_another_fingerprint_is_not_added(tmp_path: Path, shown: str) -> None:
    known = tmp_path / "known_hosts"
    other = printed(key(tmp_path / "other").with_suffix(".pub"))
    login = replace(LOGIN, known_hosts=str(known), fingerprint=other)
    status = query(login)
    assert status.error == "Host key verification failed."
    assert f"instead of flash_host_key_fingerprint, {other}" in advice(status.error, login)
    assert not known.exists()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Missing sudo password", "run this with -K"),
        ("Incorrect sudo password", "sudo does not accept the password for ada"),
        ("ada is not in the sudoers file.", "add the user to the group sudo"),
        ("Failed to connect to the host via ssh: Permission denied", "Ansible cannot log in as ada: Failed"),
    ],
)
def test_sudo_that_fails_has_a_remedy(message: str, expected: str) -> None:
    assert expected in flash_login.problem(message, "ada")


@pytest.mark.parametrize(
    ("status", "code", "errors", "warnings"),
    [
        ({"status": "done", "errors": [], "recoverable_errors": {}}, 0, 0, 0),
        ({"status": "done", "errors": [], "recoverable_errors": {"WARNING": ["cc_netplan_nm_patch"]}}, 2, 0, 1),
        ({"status": "error", "errors": ["runcmd failed"]}, 1, 1, 0),
        ({"status": "error", "errors": []}, 1, 1, 0),
        ({"status": "done", "errors": ["real"], "recoverable_errors": {}}, 2, 1, 0),
    ],
)
def test_cloud_init_fails_by_its_errors(status: dict[str, object], code: int, errors: int, warnings: int) -> None:
    found = wait.cloud_init_problems(status, code)
    assert (len(found[0]), len(found[1])) == (errors, warnings)


@pytest.mark.parametrize("result", ["[" * 100_000, "[]", "null", '{"v1": {"errors": 1}}', '{"v1": []}'])
def test_no_result_of_cloud_init_ends_the_query(result: str) -> None:
    found = parse_status(f"==> /run/cloud-init/result.json\n{result}\n==> end\n")
    assert found.cloud_init_errors[0].startswith("/run/cloud-init/result.json is not valid")


@pytest.mark.parametrize("answer", ["[" * 100_000, "[]", "null", '{"errors": 1}', '{"recoverable_errors": [1]}'])
def test_no_status_of_cloud_init_ends_the_wait(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    params = {"name": "pi-01", "timeout": 1, "instance_id": ""}
    module: Any = SimpleNamespace(params=params, fail_json=lambda msg: said.append(msg))
    done = subprocess.CompletedProcess([], 0, f"{answer}\nrc=0\n", "")
    monkeypatch.setattr(wait, "run", lambda *_, **__: done)
    wait.wait_for_cloud_init(module, LOGIN, time.monotonic() + 0.05)
    assert "last error: its status is not valid: " in said[0]


def test_what_a_board_says_begins_no_line_of_a_message_and_is_short() -> None:
    """It may be anybody's: of an address that another machine has by now, too."""
    line = "x\nok: [pi-01]\x1b[2J\u202e"
    result = json.dumps({"v1": {"errors": [line * 1000] * 1000}})
    found = parse_status(
        f"==> /var/lib/cloud/data/instance-id\n{line}\n==> /run/cloud-init/result.json\n{result}\n"
        f"==> keys\n/boot/firmware/{line}\n==> end\n"
    )
    errors, warnings = wait.cloud_init_problems({"errors": [line], "recoverable_errors": {"WARNING": [line] * 99}}, 1)
    texts = [found.instance_id, found.keys_on_card, *found.cloud_init_errors, *errors, *warnings]
    assert found.instance_id == r"x ok: [pi-01]\x1b[2J\u202e"
    assert all(text.isprintable() and len(text) < 4000 for text in texts)
    assert len(found.cloud_init_errors) == len(warnings) == 20
    (failed,), _ = wait.cloud_init_problems({"status": line}, 1)
    assert failed == r"cloud-init ended with 1, status x ok: [pi-01]\x1b[2J\u202e"


def test_a_host_key_that_cannot_be_written_down_is_named_with_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failed(Exception):
        pass

    def fail(msg: str, **_: Any) -> None:
        raise Failed(msg)

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    login = {"address": "192.0.2.1", "port": 22, "user": "pi", "key": "", "known_hosts": "/secrets/known_hosts"}
    params = {"name": "pi-01", "login": login, "until": "ssh", "timeout": 1, "instance_id": "", "harmless": []}
    module = SimpleNamespace(params=params, check_mode=False, fail_json=fail)
    monkeypatch.setattr(wait, "AnsibleModule", lambda **_: module)
    monkeypatch.setattr(wait, "query", full)
    with pytest.raises(Failed, match=r"^/secrets/known_hosts: No space left on device: check the disk of the control"):
        wait.main()


def test_what_a_failed_login_shows_of_a_board_is_one_line_and_short() -> None:
    shown = flash_login.problem("x\x1b[2J\u202e" + "y" * 1_000_000, "ada")
    assert shown.isprintable() and len(shown) < 2100
