"""requirements.txt is one lock for all supported Pythons, with hashes, and says nothing of where it was made."""

from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.paths import ROOT

LOCK = (ROOT / "requirements.txt").read_text()
PYTHONS = re.findall(r"3\.\d+", (ROOT / "tools/python").read_text().partition("supported=")[2].partition("\n")[0])


def entries() -> list[tuple[Requirement, list[str]]]:
    """Pins of the lock, each with its hashes."""
    text = re.sub(r"(?m)^#.*\n", "", LOCK).replace("\\\n", " ")
    found = []
    for line in text.splitlines():
        requirement, *hashes = re.split(r"\s+--hash=", line.strip())
        found.append((Requirement(requirement), hashes))
    return found


def pins(python: str) -> dict[str, str]:
    """Package to version on Linux with one Python.

    Raises:
        AssertionError: a package is pinned twice.
    """
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.1",
        "sys_platform": "linux",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    found: dict[str, str] = {}
    for requirement, _ in entries():
        if requirement.marker is None or requirement.marker.evaluate(environment):
            name = canonicalize_name(requirement.name)
            assert name not in found, f"{name} is pinned twice for Python {python}"
            found[name] = str(requirement.specifier).removeprefix("==")
    return found


def test_each_package_is_pinned_by_hashes() -> None:
    assert len(entries()) > 80
    for requirement, hashes in entries():
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), requirement
        assert hashes, f"{requirement} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), requirement


def test_no_package_index_is_named() -> None:
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", LOCK)


@pytest.mark.parametrize("python", PYTHONS)
def test_what_is_wanted_is_locked_for_each_python(python: str) -> None:
    locked = pins(python)
    for line in (ROOT / "requirements.in").read_text().splitlines():
        if text := line.partition("#")[0].strip():
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({"python_version": python}):
                assert locked.get(canonicalize_name(wanted.name)) == str(wanted.specifier).removeprefix("==")


def test_each_python_has_its_ansible_core() -> None:
    series = {python: pins(python)["ansible-core"].rpartition(".")[0] for python in PYTHONS}
    assert series == {"3.11": "2.19", "3.12": "2.21", "3.13": "2.21", "3.14": "2.21"}
