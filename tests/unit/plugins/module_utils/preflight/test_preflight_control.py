"""Checks of the control node: modes of its secrets, configuration, programs, ssh, routes and proxies."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight import control, secrets
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.model import (
    COMMAND_LINE,
    Host,
    Place,
    Report,
    Setting,
)
from preflight_helpers import FILE, NEEDS, board, servers, texts


def test_secrets_accessible_to_other_users(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o755)
    for name, mode in (("k3s-token", 0o644), ("id_ed25519", 0o600), ("id_ed25519.pub", 0o644), ("known_hosts", 0o644)):
        (folder / name).write_text("x")
        (folder / name).chmod(mode)
    report = Report()
    secrets.check_files(board(tmp_path), tmp_path, report)
    assert texts(report) == [
        'secrets: mode = "0755": accessible to other users; run `chmod 0700 secrets`',
        'secrets/k3s-token: mode = "0644": accessible to other users; run `chmod 0600 secrets/k3s-token`',
    ]


def test_empty_secrets_are_named_before_anything_uses_them(tmp_path: Path) -> None:
    """As an empty password, with which any user could log in."""
    folder, own = tmp_path / "secrets", tmp_path / "own-password"
    (folder / "hub").mkdir(mode=0o700, parents=True)
    folder.chmod(0o700)
    for path, text in (
        (folder / "hub/alice", ""), (folder / "hub/bob", "s3cret\n"), (folder / "jupyter-password.cookies", " \n"),
        (folder / "k3s-token", ""), (folder / "known_hosts", ""), (folder / ".known_hosts.lock", ""), (own, "\n"),
    ):  # fmt: skip
        path.write_text(text)
        path.chmod(0o600)
    given = board(tmp_path, manifests_jupyter_password_file=str(own))
    report = Report()
    secrets.check_files(
        replace(given, defaults={"k3s_token_file": "{{ cluster_secrets_dir }}/k3s-token"}), tmp_path, report
    )
    found = [text.split(";")[0] for text in texts(report)]
    # That of k3s is named as a token.
    names = ("own-password", "secrets/hub/alice", "secrets/jupyter-password.cookies")
    assert found == [f"{name}: content: empty, as a power cut leaves a file that was just made" for name in names]


def test_secrets_directory_that_does_not_exist_yet_is_not_an_error(tmp_path: Path) -> None:
    report = Report()
    secrets.check_files(board(tmp_path), tmp_path, report)
    assert texts(report) == []


def test_programs_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    programs = [
        {"program": "ssh", "package": "openssh-client", "purpose": "reach the boards"},
        {"program": "mcopy", "package": "mtools", "purpose": "write cards", "when_set": "flash_card"},
    ]
    needs = replace(NEEDS, programs=programs, python_packages=["no_such_package", "json"])
    report = Report()
    control.check(board(tmp_path), ["pi-01"], needs, report)
    assert texts(report) == [
        "control node: buildah or podman or docker: not installed, but needed to build the container image; "
        "install the Debian package buildah",
        "control node: no_such_package: this Python package is missing; "
        "run from the virtual environment that `make` sets up from requirements.txt",
        "control node: ssh: not installed, but needed to reach the boards; install the Debian package openssh-client",
    ]
    report = Report()
    control.check(servers(tmp_path, flash_card="/srv/pi-01.img"), ["localhost"], needs, report)
    assert any("mcopy: not installed, but needed to write cards" in text for text in texts(report))


def test_an_older_series_of_ansible_core() -> None:
    report = Report()
    for version in ("2.19.14", "2.21.0rc1", "3.0.0"):
        control.check_ansible(version, "2.19", report)
    assert texts(report) == []
    control.check_ansible("2.9.27", "2.19", report)
    assert texts(report) == [
        "control node: ansible-core = 2.9.27: this project requires ansible-core 2.19 or newer; "
        "run it from the virtual environment that `make` sets up from requirements.txt"
    ]


def test_python_of_localhost_without_packages(tmp_path: Path) -> None:
    needs = replace(NEEDS, python_packages=["no_such_package"])
    inventory = board(tmp_path)
    for interpreter, wrong in ((sys.executable, False), ("/nonexistent", True), ("/usr/bin/python3", True)):
        name = "ansible_python_interpreter"
        settings = {name: Setting(name, interpreter, FILE)}
        inventory.hosts["localhost"] = Host("localhost", FILE, frozenset(), settings)
        report = Report()
        control.check(inventory, [], needs, report)
        found = [text for text in texts(report) if text.startswith(f"hosts.yml: {name}")]
        assert ["no Python that has the packages no_such_package" in text for text in found] == [True] * wrong


def test_a_proxy_that_the_cluster_would_be_reached_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inventory = servers(tmp_path, ansible_host="192.0.2.11")
    monkeypatch.setenv("https_proxy", "http://user:secret@proxy.example:3128")
    monkeypatch.setenv("no_proxy", "localhost")
    report = Report()
    control.check(inventory, [], NEEDS, report)
    (found,) = [text for text in texts(report) if "proxy" in text]
    assert found == (
        "control node: https_proxy = (not shown): requests to the cluster's API at 192.0.2.11 would be sent to this "
        "proxy; export no_proxy=localhost,192.0.2.11 NO_PROXY=localhost,192.0.2.11"
    )
    monkeypatch.setenv("no_proxy", "localhost,192.0.2.11")
    report = Report()
    control.check(inventory, [], NEEDS, report)
    assert not [text for text in texts(report) if "proxy" in text]


def test_a_server_that_only_ssh_reaches(tmp_path: Path) -> None:
    # No route leads to the address of all machines.
    for address, args, wrong in (
        ("255.255.255.255", "-o ProxyJump=me@gate.example", True),
        ("255.255.255.255", "-J me@gate.example", True),
        ("127.0.0.1", "-J me@gate.example", False),
        ("255.255.255.255", "", False),
    ):
        report = Report()
        control.check(servers(tmp_path, ansible_host=address, ansible_ssh_common_args=args), [], NEEDS, report)
        found = [text for text in texts(report) if "ssh reaches it through me@gate.example" in text]
        assert len(found) == wrong


def test_the_api_is_asked_at_its_own_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(control, "_answers", lambda *address: asked.append(address))
    for config in ({"https-listen-port": 7443}, {}, {"https-listen-port": "7443"}, {"https-listen-port": 70000}, "x"):
        report = Report()
        jump = {"ansible_host": "192.0.2.11", "ansible_ssh_common_args": "-J gate"}
        control.check(servers(tmp_path, **jump, k3s_server_config=config), [], NEEDS, report)
        (text,) = [text for text in texts(report) if "ssh reaches it through gate" in text]
        assert f"the cluster's API at port {asked[-1][1]} cannot be reached so" in text
    assert asked == [("192.0.2.11", port) for port in (7443, 6443, 6443, 6443, 6443)]


def test_variables_beside_playbooks_are_reported(tmp_path: Path) -> None:
    def found() -> list[str]:
        report = Report()
        control.check_configuration(None, tmp_path, {}, report)
        return [text for text in texts(report) if "variables: " in text]

    assert found() == []
    (tmp_path / "playbooks/group_vars").mkdir(parents=True)
    remedy = "no play would read all of them; move its files to group_vars beside the inventory's hosts"
    assert found() == [f"{tmp_path}/playbooks/group_vars: variables: {remedy}"]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            {"ansible_ssh_common_args": "-p 2222", "ansible_port": None},
            "has port 2222, which not all stages would use; ",
        ),
        ({"ansible_ssh_common_args": "-o Port=2222", "ansible_port": 2222}, None),
        ({"ansible_ssh_common_args": "-o HostName=192.0.2.9"}, "has the host name 192.0.2.9 for it, which not all"),
        (
            {"ansible_ssh_common_args": "-F /nonexistent"},
            "ssh does not accept ansible_ssh_common_args or ~/.ssh/config",
        ),
        ({"ansible_ssh_common_args": "-o ControlPath=/nonexistent/%h"}, "there is no directory /nonexistent for its"),
        ({"ansible_ssh_common_args": "-o StrictHostKeyChecking=yes -J gate.example"}, None),
        # What ssh makes of these is nothing to write: 192.0.2.8, and a part of a path.
        ({"ansible_host": "192.0.2.010"}, None),
        (
            {
                "cluster_secrets_dir": "/srv/my secrets",
                "ansible_ssh_common_args": "-o UserKnownHostsFile=/srv/my secrets/known_hosts",
            },
            None,
        ),
    ],
)
def test_what_only_ssh_s_own_settings_say(tmp_path: Path, values: dict[str, object], problem: str | None) -> None:
    report = Report()
    control.check(board(tmp_path, **values), [], NEEDS, report)
    found = [text for text in texts(report) if text.startswith("all.yml: ansible_host")]
    assert [problem in text for text in found] == ([True] if problem else [])


@pytest.mark.parametrize(
    ("args", "is_found"),
    [
        ("-J gate.example", False),
        ("-o StrictHostKeyChecking=yes", False),
        ("-J gate.example -o UserKnownHostsFile=~/.ssh/known_hosts", False),
        ("-J gate.example -o UserKnownHostsFile={secrets}/known_hosts", True),
        ("-o UserKnownHostsFile='~/.ssh/known_hosts {secrets}/known_hosts'", True),
        # Whoever wants no verification has none.
        ("-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null", True),
    ],
)
def test_ansible_finds_the_host_keys_that_the_first_stage_writes(tmp_path: Path, args: str, is_found: bool) -> None:
    given = args.format(secrets=tmp_path / "secrets")
    report = Report()
    control.check(board(tmp_path, ansible_ssh_common_args=given), [], NEEDS, report)
    found = [text for text in texts(report) if "host key" in text]
    expected = (
        f"all.yml: ansible_ssh_common_args = {given}: Ansible would not look for its host key where the first stage "
        f"writes it; add -o UserKnownHostsFile={tmp_path}/secrets/known_hosts to it, as inventory/example has it"
    )
    assert found == ([] if is_found else [expected])


@pytest.mark.parametrize(
    ("card", "problem"),
    [
        ("/srv/card.img", "the 2 boards of this run would share it; name one board with -l, or write it for each"),
        ("/dev/disk/by-id/usb-Generic_reader-0:0", None),
        ("/dev/disk/by-id/mmc-SC32G_0x1a2b", "a built-in reader has another link and serial number for each card; "),
    ],
)
def test_what_is_a_board_s_own_is_not_given_for_several(tmp_path: Path, card: str, problem: str | None) -> None:
    inventory = board(tmp_path)
    given = {"flash_card": card, "flash_card_serial": "42"}
    settings = inventory.hosts["pi-01"].settings | {
        name: Setting(name, value, Place(COMMAND_LINE)) for name, value in given.items()
    }
    for name in ("pi-01", "pi-02"):
        inventory.hosts[name] = Host(name, FILE, frozenset(), settings)
    for scope, count in ((["pi-01", "pi-02"], 2 if problem else 0), (["pi-02"], 0)):
        report = Report()
        control.check(inventory, scope, NEEDS, report)
        found = [text for text in texts(report) if "would share it" in text]
        assert len(found) == count
        assert all(problem and problem in text for text in found)


def test_network_of_this_machine_is_valid() -> None:
    report = Report()
    control.check_networks(replace(NEEDS, networks=["127.0.0.0/8"]), report)
    assert report.findings() == []


def test_foreign_and_malformed_networks_are_reported_with_a_remedy() -> None:
    report = Report()
    # 198.51.100.0/24 is reserved for documentation: no machine has it.
    control.check_networks(replace(NEEDS, networks=["198.51.100.0/24", "10.77.0.1/24"], hint="Is the lab up?"), report)
    begin = "control node: preflight_networks = "
    assert sorted(str(finding) for finding in report.findings()) == [
        begin + "10.77.0.1/24: 10.77.0.1/24 has host bits set; write a network such as 192.168.1.0/24",
        begin + "198.51.100.0/24: the control node has no address in this network of the boards; Is the lab up?",
    ]


def test_a_login_key_that_ssh_cannot_use_is_reported_where_it_is_written(tmp_path: Path) -> None:
    def found(key: Path) -> list[str]:
        report = Report()
        control.check(board(tmp_path, ansible_ssh_private_key_file=str(key)), ["pi-01"], NEEDS, report)
        return [text for text in texts(report) if "ssh_private_key" in text]

    own = tmp_path / "own"
    missing = f"all.yml: ansible_ssh_private_key_file = {own}: there is no such file"
    assert [text.partition(";")[0] for text in found(own)] == [missing]
    # This one is generated before the first board is flashed.
    assert found(tmp_path / "secrets" / "id_ed25519") == []
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(own)], check=True)
    assert found(own) == []


@pytest.mark.parametrize("port", [2222, "2222"])
def test_a_port_is_a_number_also_as_a_text(tmp_path: Path, port: int | str) -> None:
    assert control.ssh_port(board(tmp_path, ansible_port=port).hosts["pi-01"]) == 2222


def test_a_limit_that_leaves_out_a_part_of_the_cluster_is_reported_where_all_of_it_is_changed(tmp_path: Path) -> None:
    inventory = board(tmp_path)
    host = inventory.hosts["pi-01"]
    inventory.hosts["localhost"] = replace(host, name="localhost", groups=frozenset(), settings={})

    def found(scope: list[str], limit: str) -> list[str]:
        report = Report()
        control.check_whole(inventory, scope, limit, report)
        return texts(report)

    assert found(["localhost", "pi-01"], "") == []
    assert found(["pi-01"], "cluster") == [
        "ansible-playbook: --limit = cluster: leaves out localhost, and this playbook changes the cluster as a whole; "
        "omit it"
    ]
    assert "leaves out pi-01," in found(["localhost"], "localhost")[0]


@pytest.mark.parametrize(
    ("limit", "unmatched", "expected"),
    [
        (None, [], []),
        ("pi-01", [], []),
        (" ", [], ['--limit = "": empty, so that it limits nothing; name hosts or groups, or omit it']),
        ("!pi-o1", ["pi-o1"], ["--limit = !pi-o1: no host or group is named pi-o1; did you mean pi-01?"]),
        ("a,b", ["a", "b"], [f"--limit = a,b: no host or group is named {part}; name hosts and" for part in "ab"]),
    ],
)
def test_a_limit_of_which_a_part_matches_nothing_is_reported(
    tmp_path: Path, limit: str | None, unmatched: list[str], expected: list[str]
) -> None:
    report = Report()
    control.check_limit(limit, unmatched, board(tmp_path), report)
    starts = [f"ansible-playbook: {each}" for each in expected]
    assert [text[: len(start)] for text, start in zip(texts(report), starts, strict=True)] == starts


def test_a_board_to_reflash_that_the_limit_leaves_out_is_reported(tmp_path: Path) -> None:
    def found(place: Place, scope: list[str]) -> list[str]:
        inventory = board(tmp_path, flash_reflash=["pi-02", "pi-99"])
        host = inventory.hosts["pi-01"]
        host.settings["flash_reflash"] = replace(host.settings["flash_reflash"], place=place)
        inventory.hosts["pi-02"] = replace(host, name="pi-02")
        report = Report()
        control.check(inventory, scope, NEEDS, report)
        return [text for text in texts(report) if "reflash" in text]

    given = Place("command line (-e)")
    assert found(given, ["pi-01"]) == [
        'command line (-e): flash_reflash = ["pi-02", "pi-99"]: --limit leaves out pi-02; name the same boards in both'
    ]
    assert found(given, ["pi-01", "pi-02"]) == []
    assert found(FILE, ["pi-01"]) == []
