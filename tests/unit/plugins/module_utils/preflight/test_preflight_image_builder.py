"""What builds the container image on the control node: docker, buildah or podman, and a base from packages."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.container_image import base, inputs
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight import control, image_builder
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.model import (
    Report,
)
from preflight_helpers import NEEDS, board, texts


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
    monkeypatch.setattr(image_builder.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(image_builder.getpass, "getuser", lambda: "ada")
    monkeypatch.setattr(image_builder, "_SUBORDINATE", (tmp_path / "subuid", tmp_path / "subgid"))
    (tmp_path / "subuid").write_text("ada:100000:65536\n")
    (tmp_path / "subgid").write_text("adam:100000:65536\n")
    report = Report()
    control.check(board(tmp_path), [], NEEDS, report)
    found = [text for text in texts(report) if "sub" in text or "newuidmap" in text]
    assert [text.partition(";")[0] for text in found] == [
        f"{tmp_path}/subgid: ada: no range, which buildah needs for a user other than root",
        "control node: newuidmap: not installed, but buildah needs it for a user other than root",
    ]


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
    made = image_builder.ImageBase("mmdebstrap", "trixie", str(tmp_path))
    boards = [("pi-01", os.uname().machine, made), ("pi-02", other, made), ("pi-03", other, made)]
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def found() -> list[str]:
        report = Report()
        image_builder.check_emulation(boards, report)
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
