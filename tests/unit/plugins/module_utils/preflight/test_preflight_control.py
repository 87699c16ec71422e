"""Checks of the control node: files, disk, programs, and whether downloads are reachable."""

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.container_image import base, inputs
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight import control, secrets
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.model import (
    COMMAND_LINE,
    Group,
    Host,
    Inventory,
    Place,
    Report,
    Setting,
)

from tests.support.paths import ROOT

NEEDS = control.Needs(
    ansible_core="2.19",
    programs=[],
    python_packages=[],
    networks=[],
    cache_free_mb=1,
    check_urls=True,
    url_timeout=3,
    hint="",
)
FILE = Place("hosts.yml")


def board(tmp_path: Path, **values: object) -> Inventory:
    """One unreachable board, with its secrets and cache in tmp_path."""
    values = {
        "ansible_host": "127.0.0.1",
        "ansible_port": 1,
        "cluster_secrets_dir": str(tmp_path / "secrets"),
        "cluster_cache_dir": str(tmp_path / "cache"),
        "k3s_release_url": "http://127.0.0.1:1/k3s",
        "k3s_version": "v1.36.4+k3s1",
    } | values
    settings = {name: Setting(name, value, Place("all.yml")) for name, value in values.items()}
    groups = frozenset(("cluster", "k3s_servers"))
    host = Host("pi-01", FILE, groups, groups, settings)
    return Inventory(FILE, {"pi-01": host}, {"cluster": Group("cluster", FILE, ("pi-01",))}, {}, ())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A web server of tmp_path/site, and the requests that it received."""
    root = tmp_path / "site"
    root.mkdir()
    requests: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **keywords: object) -> None:
            super().__init__(*args, directory=str(root), **keywords)  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            requests.append(self.requestline)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()
    server.server_close()
    thread.join()


def texts(report: Report) -> list[str]:
    return [str(finding) for finding in report.findings()]


def test_secrets_accessible_to_other_users(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o755)
    for name, mode in (("k3s-token", 0o644), ("id_ed25519", 0o600), ("id_ed25519.pub", 0o644), ("known_hosts", 0o644)):
        (folder / name).touch()
        (folder / name).chmod(mode)
    report = Report()
    secrets.check_files(board(tmp_path), tmp_path, report)
    assert texts(report) == [
        'secrets: mode = "0755": accessible to other users; run `chmod 0700 secrets`',
        'secrets/k3s-token: mode = "0644": accessible to other users; run `chmod 0600 secrets/k3s-token`',
    ]


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


def test_cache_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    report = Report()
    control.check(board(tmp_path, cluster_cache_dir=f"{tmp_path}/file/cache"), [], NEEDS, report)
    assert (
        f"all.yml: cluster_cache_dir = {tmp_path}/file/cache: {tmp_path}/file is not a directory; "
        "write a directory's path"
    ) in texts(report)


def test_overlay_of_the_manifests_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    own = tmp_path / "home"
    own.mkdir()
    (own / "kustomization.yaml").touch()
    for valid in ("split", "combined", "example", str(own), "~/home"):
        report = Report()
        control.check(board(tmp_path, manifests_overlay=valid), [], NEEDS, report)
        assert not [text for text in texts(report) if "manifests_overlay" in text]
    for wrong, remedy in (
        ("splt", "did you mean split?"),
        (
            f"{tmp_path}/hom",
            "use combined or example or hub or lite or split or the full path of a directory with an overlay",
        ),
    ):
        report = Report()
        control.check(board(tmp_path, manifests_overlay=wrong), [], NEEDS, report)
        folder = ROOT / "k8s" / "overlays" / wrong
        assert f"all.yml: manifests_overlay = {wrong}: {folder} has no kustomization.yaml; {remedy}" in texts(report)
    # A tree of one's own has its own overlays.
    (tmp_path / "overlays" / "mine").mkdir(parents=True)
    report = Report()
    control.check(board(tmp_path, manifests_overlay="min", manifests_source=str(tmp_path)), [], NEEDS, report)
    assert texts(report)[0].endswith("/overlays/min has no kustomization.yaml; did you mean mine?")


def test_certificate_of_the_ingress_has_its_key(tmp_path: Path) -> None:
    pair = {name: (tmp_path / f"{name}.crt", tmp_path / f"{name}.key") for name in ("one", "two")}
    for crt, key in pair.values():
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-subj", "/CN=x", "-out", str(crt), "-keyout", str(key)], check=True, capture_output=True,
        )  # fmt: skip
    (crt, key), (_, other) = pair["one"], pair["two"]
    for variables, problem in (
        ({"manifests_tls_key_file": str(key)}, ""),
        ({}, "has no key"),
        ({"manifests_tls_key_file": str(other)}, f"{other} is the key of another certificate"),
        ({"manifests_tls_key_file": f"{tmp_path}/none"}, f"{tmp_path}/none cannot be read: No such file or directory"),
        ({"manifests_tls_key_file": str(crt)}, f"{crt} and {crt} cannot be used: "),
    ):
        report = Report()
        control.check(board(tmp_path, manifests_tls_certificate_file=str(crt), **variables), [], NEEDS, report)
        found = [text for text in texts(report) if "manifests_tls_certificate_file" in text]
        assert bool(found) == bool(problem), found
        assert all(f"manifests_tls_certificate_file = {crt}: {problem}" in text for text in found), found


def test_full_disk(tmp_path: Path) -> None:
    report = Report()
    control.check_downloads(board(tmp_path), [], replace(NEEDS, cache_free_mb=2**40, check_urls=False), report)
    (text,) = texts(report)
    assert text.startswith(f"all.yml: cluster_cache_dir = {tmp_path}/cache: ")
    assert "but downloads and the container image need 1099511627776 MiB (preflight_cache_free_mb)" in text


def test_unreachable_downloads(tmp_path: Path) -> None:
    needs = replace(NEEDS, hint="Is the mirror up?")
    report = Report()
    image = "http://127.0.0.1:1/raspios.img.xz"
    control.check_downloads(board(tmp_path, flash_card="/srv/c", flash_image_url=image), [], needs, report)
    assert texts(report) == [
        f"all.yml: flash_image_url = {image}: {image} is unreachable (Connection refused); Is the mirror up?",
        "all.yml: k3s_release_url = http://127.0.0.1:1/k3s/v1.36.4+k3s1: "
        "http://127.0.0.1:1/k3s/v1.36.4%2Bk3s1/sha256sum-amd64.txt is unreachable (Connection refused); "
        "Is the mirror up?",
    ]


def test_reachable_downloads(tmp_path: Path, site: tuple[str, list[str]]) -> None:
    address, requests = site
    release = tmp_path / "site" / "k3s" / "v1.36.4+k3s1"
    release.mkdir(parents=True)
    (release / "sha256sum-amd64.txt").touch()
    report = Report()
    control.check_downloads(board(tmp_path, k3s_release_url=f"{address}/k3s"), [], NEEDS, report)
    assert texts(report) == []
    control.check_downloads(board(tmp_path, k3s_release_url=f"{address}/k4s"), [], NEEDS, report)
    (text,) = texts(report)
    assert text.endswith(
        f"{address}/k4s/v1.36.4%2Bk3s1/sha256sum-amd64.txt returns 404 File not found; "
        "check the URL and the control node's network"
    )
    assert {request.split()[0] for request in requests} == {"HEAD"}


def test_nothing_is_requested_for_what_is_cached_or_running(tmp_path: Path, site: tuple[str, list[str]]) -> None:
    address, requests = site
    release = tmp_path / "cache" / "k3s" / "v1.36.4+k3s1"
    release.mkdir(parents=True)
    (release / "0123456789abcdef-k3s").touch()
    pin = "a" * 64
    images = tmp_path / "cache" / "images"
    images.mkdir()
    (images / f"{pin}.img.xz").touch()
    archive = tmp_path / "cache" / "images-oci" / f"{inputs.tag(inputs.Inputs(ROOT / 'docker'))}-arm64.tar"
    archive.parent.mkdir()
    archive.touch()
    for values in (
        {"flash_image_sha256": pin},  # in the cache
        {"flash_image_sha256": "", "ansible_port": int(address.rpartition(":")[2])},  # the board is running
    ):
        inventory = board(
            tmp_path,
            flash_card="/srv/c",
            flash_image_url=f"{address}/gone.img.xz",
            k3s_release_url=f"{address}/gone",
            **values,
        )
        report = Report()
        control.check_downloads(inventory, [], replace(NEEDS, cache_free_mb=2**40), report)
        assert texts(report) == []
    assert not [request for request in requests if "HEAD" in request]
    # Of another image: this one will be built.
    archive.rename(archive.with_name("0123456789ab-arm64.tar"))
    report = Report()
    control.check_downloads(inventory, [], replace(NEEDS, cache_free_mb=2**40), report)
    assert ["MiB are free there" in text for text in texts(report)] == [True]


def test_disk_of_the_images_is_checked_where_they_are(tmp_path: Path) -> None:
    inventory = board(tmp_path, container_image_cache_dir=f"{tmp_path}/oci", k3s_release_url="")
    report = Report()
    control.check_downloads(inventory, [], replace(NEEDS, cache_free_mb=2**40, check_urls=False), report)
    assert [text.partition(": ")[2].partition(" = ")[0] for text in texts(report)] == [
        "cluster_cache_dir",
        "container_image_cache_dir",
    ]


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("exit 1", "docker: its daemon does not answer this user"),
        ('[ "$1" = info ] || exit 1', "docker buildx: not installed"),
        ('[ "$1" = info ] || echo "Driver: docker"', "docker buildx: its builder of driver docker cannot write"),
        ('[ "$1" = info ] || echo "Driver: docker-container"', None),
        ('[ "$1" = info ] && echo "[[driver-type io.containerd.snapshotter.v1]]" || echo "Driver: docker"', None),
    ],
)
def test_docker_that_cannot_build_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, problem: str | None
) -> None:
    program(tmp_path / "bin", "docker", script)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    report = Report()
    control.check(board(tmp_path), [], NEEDS, report)
    found = [text for text in texts(report) if "docker" in text]
    assert [text.startswith(f"control node: {problem}") for text in found] == ([True] if problem else [])


def test_an_image_built_without_root_needs_ranges_of_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin", "buildah", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(control.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(control.getpass, "getuser", lambda: "ada")
    monkeypatch.setattr(control, "_SUBORDINATE", (tmp_path / "subuid", tmp_path / "subgid"))
    (tmp_path / "subuid").write_text("ada:100000:65536\n")
    (tmp_path / "subgid").write_text("adam:100000:65536\n")
    report = Report()
    control.check(board(tmp_path), [], NEEDS, report)
    found = [text for text in texts(report) if "sub" in text or "newuidmap" in text]
    assert [text.partition(";")[0] for text in found] == [
        f"{tmp_path}/subgid: ada: no range, which buildah needs for a user other than root",
        "control node: newuidmap: not installed, but buildah needs it for a user other than root",
    ]


def test_python_of_localhost_without_packages(tmp_path: Path) -> None:
    needs = replace(NEEDS, python_packages=["no_such_package"])
    inventory = board(tmp_path)
    for interpreter, wrong in ((sys.executable, False), ("/nonexistent", True), ("/usr/bin/python3", True)):
        name = "ansible_python_interpreter"
        settings = {name: Setting(name, interpreter, FILE)}
        inventory.hosts["localhost"] = Host("localhost", FILE, frozenset(), frozenset(), settings)
        report = Report()
        control.check(inventory, [], needs, report)
        found = [text for text in texts(report) if text.startswith(f"hosts.yml: {name}")]
        assert ["no Python that has the packages no_such_package" in text for text in found] == [True] * wrong


def servers(tmp_path: Path, **values: object) -> Inventory:
    inventory = board(tmp_path, **values)
    inventory.groups["k3s_servers"] = Group("k3s_servers", FILE, ("pi-01",))
    return inventory


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
    ],
)
def test_what_only_ssh_s_own_settings_say(tmp_path: Path, values: dict[str, object], problem: str | None) -> None:
    report = Report()
    control.check(board(tmp_path, **values), [], NEEDS, report)
    found = [text for text in texts(report) if text.startswith("all.yml: ansible_host")]
    assert [problem in text for text in found] == ([True] if problem else [])


def test_prepared_images_need_space_too(tmp_path: Path) -> None:
    huge = replace(NEEDS, check_urls=False, cache_free_mb=0)
    card = {"flash_card": "/x", "flash_image_url": "http://127.0.0.1:1/os.img.xz"}

    def found(parts: list[str], needs_mb: int) -> list[str]:
        report = Report()
        values = {"card_image_parts": parts, "card_image_cache_free_mb": needs_mb, **card}
        control.check_downloads(board(tmp_path, **values), [], huge, report)
        return texts(report)

    (text,) = found(["packages"], 10**9)
    assert "and prepared OS images need 1000000000 MiB (card_image_cache_free_mb); free some space" in text
    assert text.endswith("card_image_parts: [] does without prepared OS images")
    assert found(["packages"], 1) == found([], 10**9) == []
    (tmp_path / "cache/images").mkdir(parents=True)
    (tmp_path / "cache/images/prepared-0123.img").touch()
    assert found(["packages"], 10**9) == []


def test_what_is_a_board_s_own_is_not_given_for_several(tmp_path: Path) -> None:
    inventory = board(tmp_path)
    settings = inventory.hosts["pi-01"].settings | {"flash_card": Setting("flash_card", "/dev/x", Place(COMMAND_LINE))}
    for name in ("pi-01", "pi-02"):
        inventory.hosts[name] = Host(name, FILE, frozenset(), frozenset(), settings)
    for scope, wrong in ((["pi-01", "pi-02"], True), (["pi-02"], False)):
        report = Report()
        control.check(inventory, scope, NEEDS, report)
        found = [
            text for text in texts(report) if "flash_card = /dev/x: the 2 boards of this run would share it" in text
        ]
        assert len(found) == wrong


def test_files_of_the_image_that_others_may_not_read(tmp_path: Path) -> None:
    context = tmp_path / "docker"
    context.mkdir()
    (context / "overrides.json").touch(mode=0o600)
    inventory = board(tmp_path, container_image_context=str(context))
    report = Report()
    control.check(inventory, [], NEEDS, report)
    assert (
        f"{context}: mode: not readable for other users (overrides.json), nor would they be in the image; "
        f"run `chmod -R go+rX {context}`"
    ) in texts(report)
    (context / "overrides.json").chmod(0o644)
    report = Report()
    control.check(inventory, [], NEEDS, report)
    assert not [text for text in texts(report) if "not readable" in text]


def test_a_directory_that_is_a_link_to_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secrets").symlink_to(tmp_path / "gone")
    report = Report()
    control.check(board(tmp_path), [], NEEDS, report)
    assert [text for text in texts(report) if f"{tmp_path}/secrets is not a directory" in text]


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


@pytest.mark.parametrize(
    ("programs", "values", "problems"),
    [
        (["mmdebstrap", "buildah"], {}, []),
        (["mmdebstrap", "docker", "podman"], {}, []),
        (["buildah"], {}, ["mmdebstrap is not installed; install the Debian package mmdebstrap"]),
        (
            ["mmdebstrap", "docker"],
            {},
            ["docker cannot take a base that is made here; install the Debian package buildah, or write registry"],
        ),
        (
            ["mmdebstrap", "buildah", "docker"],
            {"container_image_builder": "docker"},
            ["docker cannot take a base that is made here; install the Debian package buildah, or write registry"],
        ),
    ],
)
def test_what_a_base_by_mmdebstrap_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: list[str], values: dict[str, str], problems: list[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for name in programs:
        program(tmp_path / "bin", name, "exit 1")
    archives = {f"container_image_base_{name}mirror": f"http://example.org/{name}" for name in ("", "security_")}
    inventory = board(tmp_path, container_image_base_source="mmdebstrap", **archives, **values)
    report = Report()
    control.check(inventory, [], NEEDS, report)
    start = "all.yml: container_image_base_source = mmdebstrap: "
    assert [text.removeprefix(start) for text in texts(report) if text.startswith(start)] == problems


def test_archives_that_a_base_by_mmdebstrap_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "host_sources", dict)
    report = Report()
    control.check(board(tmp_path, container_image_base_source="mmdebstrap"), [], NEEDS, report)
    assert [text for text in texts(report) if "mirror" in text] == [
        "all.yml: container_image_base_mirror: empty, and this machine's /etc/apt has no archive that ends in /debian; "
        "write the archive's URL",
        "all.yml: container_image_base_security_mirror: empty, and this machine's /etc/apt has no archive that ends in "
        "/debian-security; write the archive's URL",
    ]


def test_base_of_another_architecture_needs_qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = "aarch64" if os.uname().machine == "x86_64" else "x86_64"
    arch = inputs.ARCHITECTURES[other]
    made = control.ImageBase("mmdebstrap", "trixie", str(tmp_path))
    boards = [("pi-01", os.uname().machine, made), ("pi-02", other, made), ("pi-03", other, made)]
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def found() -> list[str]:
        report = Report()
        control.check_emulation(boards, report)
        return texts(report)

    assert found() == [
        "control node: container_image_base_source = mmdebstrap: makes a base for pi-02, and the scripts of its "
        f"packages are for {arch}, which does not run here; install the Debian packages qemu-user-static, "
        f"binfmt-support and arch-test (`arch-test` must list {arch}), or write registry"
    ]
    program(tmp_path / "bin", "arch-test", f'[ "$1" != {arch} ]')
    assert len(found()) == 1
    program(tmp_path / "bin", "arch-test", f'[ "$1" = {arch} ]')
    assert found() == []
    (tmp_path / "bin" / "arch-test").unlink()
    base.tar_path(tmp_path, "trixie", arch).touch()
    assert found() == []
    boards = [("pi-02", other, replace(made, source="registry", cache_dir="/nonexistent"))]
    assert found() == []
