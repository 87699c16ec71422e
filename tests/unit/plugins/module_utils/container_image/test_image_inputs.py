"""The image's name is derived from its inputs, and from nothing else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.container_image.inputs import (
    ImageError,
    Inputs,
    context_files,
    digest,
    reference,
)


@pytest.fixture
def context(tmp_path: Path, docker: Path) -> Path:
    copy = tmp_path / "docker"
    shutil.copytree(docker, copy)
    return copy


def test_name_is_a_valid_reference_that_is_not_pulled(docker: Path) -> None:
    found = reference(Inputs(docker), "localhost/edge-ai/tensorflow-jupyter")
    assert found.startswith("localhost/edge-ai/tensorflow-jupyter:")
    assert len(found.rpartition(":")[2]) == 12
    assert int(found.rpartition(":")[2], 16) >= 0


@pytest.mark.parametrize("name", ["Dockerfile", "requirements.arm64.txt", "slim.py", "jupyter_server_config.py"])
def test_a_built_file_changes_the_name(context: Path, name: str) -> None:
    before = digest(Inputs(context))
    (context / name).write_text((context / name).read_text() + "\n# changed\n")
    assert digest(Inputs(context)) != before


def test_notes_and_sources_of_locks_do_not(context: Path) -> None:
    before = digest(Inputs(context))
    (context / "NOTES.md").write_text("not built\n")
    (context / "lock.sh").write_text("exit 1\n")
    (context / "requirements.in").write_text("other\n")
    assert digest(Inputs(context)) == before


def test_the_place_of_the_files_does_not(context: Path, docker: Path) -> None:
    assert digest(Inputs(context)) == digest(Inputs(docker))


def test_each_kind_of_base_has_its_name(docker: Path) -> None:
    kinds = [
        Inputs(docker),
        Inputs(docker, base=f"example.org/python:3.13@sha256:{'0' * 64}"),
        Inputs(docker, source="mmdebstrap"),
        Inputs(docker, source="mmdebstrap", suite="forky"),
    ]
    assert len({digest(kind) for kind in kinds}) == len(kinds)


@pytest.mark.parametrize(
    "base", ["docker.io/library/python:3.13-slim", "example.org/x@sha256:0123", "localhost:5000/x:1"]
)
def test_base_of_a_registry_must_be_pinned_by_its_digest(docker: Path, base: str) -> None:
    with pytest.raises(ImageError, match=f"container_image_base = {re.escape(base)}: .*must be pinned by the digest"):
        digest(Inputs(docker, base=base))


def test_default_base_must_be_pinned_too(context: Path) -> None:
    dockerfile = context / "Dockerfile"
    dockerfile.write_text(re.sub(r"@sha256:[0-9a-f]{64}", "", dockerfile.read_text()))
    with pytest.raises(ImageError, match=r"ARG BASE_IMAGE = docker\.io/library/python:.*must be pinned"):
        digest(Inputs(context))
    assert digest(Inputs(context, source="mmdebstrap"))


def test_image_of_this_machine_alone_needs_no_digest(docker: Path) -> None:
    assert digest(Inputs(docker, base="localhost/my-python:3.13"))


def test_each_image_counts_its_own_locks_alone(context: Path) -> None:
    other, lite = Inputs(context), Inputs(context, requirements="requirements-lite")
    before = digest(other), digest(lite)
    assert before[0] != before[1]
    (context / "requirements-lite.arm64.txt").write_text("changed\n")
    assert digest(other) == before[0]
    assert digest(lite) != before[1]


def test_packages_of_npm_count_for_the_hub_alone(context: Path) -> None:
    images = [Inputs(context, requirements=f"requirements{name}") for name in ("", "-lite", "-hub")]
    before = [digest(each) for each in images]
    (context / "requirements-hub/package-lock.json").write_text("{}")
    after = [digest(each) for each in images]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, True, False]
    # What npm installs there is none of the inputs.
    (context / "requirements-hub/node_modules/x").mkdir(parents=True)
    (context / "requirements-hub/node_modules/x/package.json").write_text("{}")
    assert digest(images[2]) == after[2]


def test_suite_counts_only_where_it_is_used(docker: Path) -> None:
    assert digest(Inputs(docker, suite="forky")) == digest(Inputs(docker))


def test_every_file_that_the_dockerfile_copies_is_an_input(docker: Path) -> None:
    names = {path.name for path in context_files(docker)}
    for line in (docker / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                wanted = {
                    source.replace("${TARGETARCH}", arch).replace("${REQUIREMENTS}", image)
                    for arch in ("amd64", "arm64")
                    for image in ("requirements", "requirements-lite", "requirements-hub")
                }
                assert wanted <= names


def test_directory_without_dockerfile_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="container_image_context"):
        digest(Inputs(tmp_path))


def test_dockerignore_that_includes_everything_is_rejected(context: Path) -> None:
    (context / ".dockerignore").write_text("*.md\n")
    with pytest.raises(ImageError, match="must be a line"):
        digest(Inputs(context))
