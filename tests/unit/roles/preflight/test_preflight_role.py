"""The role as it is run: by ansible-playbook, with an ssh that leaves a trace."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import ansible_playbook
from tests.support.paths import CORPUS
from tests.support.paths import ROOT as PROJECT

PLAYBOOK = PROJECT / "playbooks" / "preflight.yml"
BOARDS = """\
- name: Validate the boards
  hosts: all
  gather_facts: false
  tasks:
    - name: Validate the boards
      ansible.builtin.import_role:
        name: preflight
        tasks_from: hosts
"""


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program; beside it, it leaves `ssh-was-started`."""
    program = tmp_path_factory.mktemp("ssh") / "ssh"
    program.write_text('#!/bin/sh\ntouch "$0-was-started"\nexec /usr/bin/ssh "$@"\n')
    program.chmod(0o755)
    return program


Run = Callable[..., tuple[int, str, bool]]


@pytest.fixture
def run(ssh: Path) -> Run:
    """Runs ansible-playbook: (exit status, output without colours, whether ssh was started)."""
    trace = ssh.with_name("ssh-was-started")
    trace.unlink(missing_ok=True)

    def begin(*arguments: str | Path, cwd: Path = CORPUS, configured: bool = True) -> tuple[int, str, bool]:
        environment = os.environ | {"ANSIBLE_SSH_EXECUTABLE": str(ssh), "ANSIBLE_NOCOLOR": "1", "COLUMNS": "1000"}
        if configured:
            environment["ANSIBLE_CONFIG"] = str(PROJECT / "ansible.cfg")
            done = ansible_playbook.run(arguments, cwd=cwd, env=environment)
        else:
            command = [Path(sys.executable).with_name("ansible-playbook"), *arguments]
            done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout + done.stderr, trace.exists()

    return begin


@pytest.mark.parametrize("limit", [(), ("-l", "pi-02", "--tags", "experiment")], ids=["all", "limited"])
def test_invalid_inventory_stops_the_run_before_any_host(run: Run, limit: tuple[str, ...]) -> None:
    status, output, touched = run("-i", "many-errors/hosts.yml", PROJECT / "site.yml", "--check", *limit)
    expected = (CORPUS / "many-errors" / "expected.txt").read_text().splitlines()
    assert status == 2
    assert not touched
    assert f"{len(expected)} errors found before anything was changed; no board was touched:" in output
    for line in expected:
        assert re.sub(r"^(hosts|group_vars)", r"many-errors/\1", line) in output


def test_valid_inventory_passes(run: Run) -> None:
    status, output, touched = run(
        "-i", "good-minimal/hosts.yml", PLAYBOOK, "-e", "preflight_check_urls=false", "--check"
    )
    assert (status, touched) == (0, False), output


WITHOUT_URLS = ("-i", CORPUS / "good-minimal/hosts.yml", "-e", '{"preflight_check_urls": false}')


# Those of a folder in one start: beside one of another folder, its links would be found too.
@pytest.mark.parametrize(
    "playbooks", [("site.yml", "add-node.yml"), ("playbooks/restore.yml", "playbooks/preflight.yml")]
)
def test_a_playbook_is_whole_in_another_directory(run: Run, tmp_path: Path, playbooks: tuple[str, ...]) -> None:
    """Ansible finds roles and modules by the links in playbooks/, but not ansible.cfg."""
    paths = [PROJECT / each for each in playbooks]
    options = (*WITHOUT_URLS, "--skip-tags", "restore", "--list-tasks")
    status, output, _ = run(*paths, *options, cwd=tmp_path, configured=False)
    assert status == 0, output
    assert re.findall("^playbook: (.*)$", output, re.MULTILINE) == [str(path) for path in paths]


def test_a_run_in_another_directory_says_where_to_run_it(run: Run, tmp_path: Path) -> None:
    options = (*WITHOUT_URLS, "--skip-tags", "restore")
    status, output, touched = run(PLAYBOOK, *options, cwd=tmp_path, configured=False)
    assert (status, touched) == (2, False)
    assert (
        f"{PROJECT}/ansible.cfg: configuration: not read: the current directory is {tmp_path}; run it in {PROJECT}"
    ) in output


def test_a_directory_that_everybody_may_write_to_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ansible.cfg").symlink_to(PROJECT / "ansible.cfg")
    tmp_path.chmod(0o777)
    status, output, _ = run(*WITHOUT_URLS, PLAYBOOK, cwd=tmp_path, configured=False)
    assert status == 2
    assert f"not read: every user may write to {tmp_path}; run `chmod o-w {tmp_path}`" in output


def test_directories_within_the_inventory_are_reported(run: Run) -> None:
    status, output, _ = run("-i", "good-minimal", PLAYBOOK, "-e", "preflight_check_urls=false")
    assert status == 2
    assert "cluster_results_dir" in output and "in the inventory's directory, all of which Ansible reads" in output


def test_parts_of_a_limit_that_match_nothing_are_reported(run: Run, tmp_path: Path) -> None:
    """Ansible only warns, and works on pi-03 too."""
    status, output, _ = run(*WITHOUT_URLS, PLAYBOOK, "-l", "cluster,!pi-o3,!spare,k3s_agents[0],~pi-0[12],all:!pi-01")
    assert status == 2
    assert "no host or group is named pi-o3; did you mean pi-03?" in output
    assert "no host or group is named all:!pi-01; have commas between all parts" in output
    (tmp_path / "boards.txt").write_text("pi-01\n\npi-o2\n")
    status, output, _ = run(*WITHOUT_URLS, PLAYBOOK, "-l", f"@{tmp_path}/boards.txt")
    assert status == 2
    assert f"--limit = @{tmp_path}/boards.txt: no host or group is named pi-o2; did you mean pi-02?" in output
    assert run(*WITHOUT_URLS, PLAYBOOK, "-l", "localhost,pi-*")[0] == 0


def test_an_empty_limit_is_no_limit(run: Run) -> None:
    """As `playbooks/stop.yml -l "$BOARD"` where nothing has set BOARD."""
    status, output, _ = run(*WITHOUT_URLS, PLAYBOOK, "-l", "")
    assert status == 2
    assert 'ansible-playbook: --limit = "": empty, so that it limits nothing; name hosts or groups' in output


def test_settings_of_the_environment_are_reported(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_REMOTE_PORT", "2222")
    monkeypatch.setenv("ANSIBLE_TASK_TIMEOUT", "60")
    monkeypatch.setenv("ANSIBLE_REMOTE_TMP", "/tmp/of ada")
    monkeypatch.setenv("ANSIBLE_BECOME_PASS", "a-secret")
    monkeypatch.setenv("ANSIBLE_BECOME_FLAGS", "-H")
    status, output, touched = run("-i", "good-minimal/hosts.yml", PLAYBOOK, "-e", "preflight_check_urls=false")
    assert (status, touched) == (2, False)
    assert "port = 2222: only Ansible itself would use it" in output
    assert "become_flags = -H: sudo would ask for its password" in output and "a-secret" not in output
    assert "task_timeout = 60: tasks that wait for boards would be ended; unset ANSIBLE_TASK_TIMEOUT" in output
    assert "remote_tmp = /tmp/of ada: a shell would read it" in output


@pytest.mark.parametrize("name", ["ANSIBLE_INVENTORY_IGNORE", "ANSIBLE_INVENTORY_IGNORE_REGEX"])
def test_an_inventory_that_is_left_out_as_a_whole_is_not_called_empty(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    (tmp_path / "hosts.yml").write_text("all: {hosts: {pi-01: }}\n")
    monkeypatch.setenv(name, ".yml")
    status, output, _ = run("-i", tmp_path, PLAYBOOK)
    assert status == 2
    left_out = (
        "hosts.yml: inventory: left out by ANSIBLE_INVENTORY_IGNORE or ANSIBLE_INVENTORY_IGNORE_REGEX; unset them"
    )
    assert left_out in output
    assert "1 error found" in output


def test_boards_are_validated_in_one_list_with_unreachable_ones(run: Run, tmp_path: Path) -> None:
    # It takes what Ansible sends first: Ansible reports a pipe that breaks meanwhile instead of what ssh says.
    refusing = tmp_path / "ssh"
    refusing.write_text("#!/bin/sh\ncat >/dev/null\necho 'connect to host: Connection refused' >&2\nexit 255\n")
    refusing.chmod(0o755)
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(
        "all:\n  hosts:\n"
        "    pi-01: {ansible_host: 127.0.0.1, ansible_connection: local, preflight_memory_mb: 99999999,"
        f" preflight_models: [], preflight_releases: [], ansible_python_interpreter: {sys.executable}}}\n"
        "    pi-02: {ansible_host: 127.0.0.1, ansible_python_interpreter: /usr/bin/python3,"
        f" ansible_ssh_executable: {refusing}}}\n"
        f"  vars: {{cluster_cache_dir: {tmp_path}}}\n"
    )
    playbook = tmp_path / "boards.yml"
    playbook.write_text(BOARDS)
    status, output, _ = run("-i", inventory, playbook)
    assert status == 2
    assert "2 errors found on the boards before anything was changed on them:" in output
    assert re.search(r"pi-01: memory = \d+ MiB: less than 99999999 MiB; use a board with more", output)
    assert re.search(r"pi-02: ansible_host = .?127.0.0.1.?: unreachable: .*Connection refused", output)
