"""Renovate finds every pin, and pins that belong together agree. What Renovate does with them is its own."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

RENOVATE = json.loads((ROOT / "renovate.json").read_text())
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()


def python_pattern(javascript: str) -> re.Pattern[str]:
    """Renovate's expressions are JavaScript's, with groups written (?<name>)."""
    return re.compile(javascript.replace("(?<", "(?P<"), re.MULTILINE)


def files(manager: dict[str, Any]) -> list[str]:
    patterns = [re.compile(pattern.strip("/")) for pattern in manager["managerFilePatterns"]]
    return [name for name in TRACKED if any(pattern.search(name) for pattern in patterns)]


def found(name: str) -> set[tuple[str, str]]:
    """(package, version) of all pins that Renovate finds in a file."""
    pins = set()
    for manager in RENOVATE["customManagers"]:
        if name not in files(manager):
            continue
        for expression in manager["matchStrings"]:
            for match in python_pattern(expression).finditer((ROOT / name).read_text()):
                groups = match.groupdict()
                pins.add((groups.get("depName") or manager["depNameTemplate"], groups["currentValue"]))
    return pins


@pytest.mark.parametrize(
    "name", ["requirements.in", "docker/requirements.in", "docker/requirements-lite.in", "docker/requirements-hub.in"]
)
def test_every_python_pin_is_found(name: str) -> None:
    lines = [line.split("#")[0].split(";")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    pins = {tuple(line.split("==")) for line in lines if "==" in line}
    assert pins
    assert found(name) == pins


def test_every_manager_finds_something_in_each_of_its_files() -> None:
    for manager in RENOVATE["customManagers"]:
        assert files(manager), manager["description"]
        for name in files(manager):
            assert found(name), f"{manager['description']}: nothing in {name}"


def test_version_of_k3s_is_found_where_it_is_pinned() -> None:
    version = yaml.safe_load((ROOT / "roles/k3s/defaults/main.yml").read_text())["k3s_version"]
    for name in ("roles/k3s/defaults/main.yml", "roles/k3s/meta/argument_specs.yml"):
        assert found(name) == {("k3s-io/k3s", version)}
    versioning = RENOVATE["customManagers"][0]["versioningTemplate"].removeprefix("regex:")
    assert python_pattern(versioning).match(version)


def test_lab_has_the_kubernetes_of_its_go_module() -> None:
    lab = tomllib.loads((ROOT / "lab/lab.toml").read_text())["k3s"]
    module = re.search(r"^\tk8s\.io/kubernetes (\S+)$", (ROOT / "lab/k3s/go.mod").read_text(), re.MULTILINE)
    assert module
    assert found("lab/lab.toml") == {("k8s.io/kubernetes", module[1])}
    assert {lab["version"].split("+")[0], lab["next"].split("+")[0]} == {module[1]}


def test_base_image_is_one_that_renovate_may_change() -> None:
    pinned = re.search(r"^ARG BASE_IMAGE=(\S+?):([^@\s]+)", (ROOT / "docker/Dockerfile").read_text(), re.MULTILINE)
    rule = next(each for each in RENOVATE["packageRules"] if each.get("matchManagers") == ["dockerfile"])
    assert pinned
    assert re.search(rule["matchPackageNames"][0].strip("/"), pinned[1])
    assert re.match(rule["allowedVersions"].strip("/"), pinned[2])
