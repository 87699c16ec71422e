"""The locks are complete, equal for both architectures, and match the options of the build's pip."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.container_image.build import MANYLINUX, PYTHON

ARCHITECTURES = ("amd64", "arm64")
IMAGES = ("requirements", "requirements-lite", "requirements-hub")
ENTRY = re.compile(r"^([a-z0-9._-]+)==(\S+) \\$")


def lock(docker: Path, arch: str, image: str = "requirements") -> dict[str, tuple[str, list[str]]]:
    """Package to version and hashes."""
    found: dict[str, tuple[str, list[str]]] = {}
    hashes: list[str] = []
    for line in (docker / f"{image}.{arch}.txt").read_text().splitlines():
        if entry := ENTRY.match(line):
            hashes = []
            found[entry[1]] = (entry[2], hashes)
        elif line.strip().startswith("--hash="):
            hashes.append(line.strip().removesuffix(" \\").removeprefix("--hash="))
        else:
            assert line.startswith("#"), f"neither package nor hash nor comment: {line}"
    return found


def names(text: str) -> set[str]:
    return {re.split(r"[ =;]", line)[0] for line in text.splitlines() if line and not line.startswith("#")}


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize(
    ("image", "least"), [("requirements", 100), ("requirements-lite", 30), ("requirements-hub", 50)]
)
def test_each_package_is_pinned_by_hashes(docker: Path, arch: str, image: str, least: int) -> None:
    packages = lock(docker, arch, image)
    assert len(packages) > least
    for name, (version, hashes) in packages.items():
        assert hashes, f"{name} {version} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), name


def test_both_have_the_same_packages_and_versions(docker: Path) -> None:
    amd64, arm64 = ({name: version for name, (version, _) in lock(docker, arch).items()} for arch in ARCHITECTURES)
    assert amd64.pop("tensorflow-cpu") == arm64.pop("tensorflow")
    assert amd64 == arm64


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_small_image_has_the_versions_of_the_other_and_no_tensorflow(docker: Path, arch: str) -> None:
    both, lite = ({name: one[0] for name, one in lock(docker, arch, image).items()} for image in IMAGES[:2])
    assert names((docker / "requirements-lite.in").read_text()) <= set(lite)
    assert not names((docker / "requirements-lite.exclude").read_text()) & set(lite)
    assert {name: version for name, version in lite.items() if name in both} | both == both
    # What only the small image has.
    assert set(lite) - set(both) == {"ai-edge-litert"}


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_hub_has_the_versions_of_what_it_starts(docker: Path, arch: str) -> None:
    both, hub = (
        {name: one[0] for name, one in lock(docker, arch, image).items()}
        for image in ("requirements", "requirements-hub")
    )
    assert names((docker / "requirements-hub.in").read_text()) <= set(hub)
    assert not names((docker / "requirements-hub.exclude").read_text()) & set(hub)
    assert {name: version for name, version in hub.items() if name in both} | both == both
    assert "jupyterhub" in both


def test_packages_of_npm_are_pinned_by_hashes_and_without_a_registry(docker: Path) -> None:
    packages = json.loads((docker / "requirements-hub/package-lock.json").read_text())["packages"]
    wanted = json.loads((docker / "requirements-hub/package.json").read_text())["dependencies"]
    assert packages.pop("")["dependencies"] == wanted
    assert len(packages) > 30
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert not {"resolved", "hasInstallScript", "dev"} & set(package), name
    assert {f"node_modules/{name}": version for name, version in wanted.items()}.items() <= {
        name: package["version"] for name, package in packages.items()
    }.items()


@pytest.mark.parametrize(("arch", "tensorflow"), [("amd64", "tensorflow-cpu"), ("arm64", "tensorflow")])
def test_required_packages_are_locked_and_excluded_ones_are_not(docker: Path, arch: str, tensorflow: str) -> None:
    packages = set(lock(docker, arch))
    assert names((docker / "requirements.in").read_text()) - {"tensorflow", "tensorflow-cpu"} <= packages
    assert tensorflow in packages
    assert not names((docker / "requirements.exclude").read_text()) & packages


def test_no_package_index_is_written(docker: Path) -> None:
    for path in docker.iterdir():
        if path.is_file() and path.name.startswith("requirements"):
            assert not re.search(r"https?://|--(extra-)?index-url|--find-links", path.read_text()), path.name


def test_dockerfile_and_role_select_the_same_wheels(docker: Path) -> None:
    text = (docker / "Dockerfile").read_text()
    minors = re.search(r"for minor in ([\d ]+);", text)
    assert minors
    tags = {f"manylinux_2_{minor}" for minor in minors[1].split()} | {"manylinux2014"}
    assert tags == set(MANYLINUX)
    assert f"--python-version {PYTHON} " in text
    assert f"--abi cp{PYTHON.replace('.', '')} " in text
    assert f"python:{PYTHON}." in text
