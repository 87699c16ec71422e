"""Versions of k3s, such as v1.36.4+k3s1, and the sizes that a cluster may have."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.edge_ai.cluster.plugins.module_utils.command import run

#: No longer numbers: boards say their versions, and Python refuses to read thousands of digits.
_NUMBER = r"(\d{1,9})"
_VERSION = re.compile(
    rf"v{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-(?:rc|alpha|beta)\.?{_NUMBER})?\+([a-z0-9]*[a-z]){_NUMBER}", re.ASCII
)
#: A version with a part left out; the groups are those of a version without a pre-release.
_LIKE_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?:-(?:rc|alpha|beta)\.?\d+)?(?:[+-](k3s|lab)(\d+))?")
#: Who makes the releases that are installed here.
MAKES = ("k3s", "lab")
#: How many servers a cluster may have: etcd needs a majority, and each member more makes every write slower.
SERVERS = (1, 3, 5)
#: Greater than the number of any pre-release: a release sorts after its own candidates.
_RELEASE = 1 << 30


@dataclass(frozen=True)
class Version:
    """A version of k3s; `pre` is the number of a pre-release, `make` who built it (k3s, or lab)."""

    major: int
    minor: int
    patch: int
    pre: int | None
    make: str
    build: int

    @property
    def key(self) -> tuple[int, ...]:
        """What versions of one make are sorted by."""
        return self.major, self.minor, self.patch, _RELEASE if self.pre is None else self.pre, self.build

    @property
    def series(self) -> tuple[int, int]:
        """Major and minor."""
        return self.major, self.minor


def parse(text: str) -> Version | None:
    """A version from its text, None when it is none."""
    found = _VERSION.fullmatch(text)
    if not found:
        return None
    major, minor, patch, pre, make, build = found.groups()
    return Version(int(major), int(minor), int(patch), int(pre) if pre else None, make, int(build))


def installed(binary: Path) -> str | None:
    """The version that a binary of k3s reports, None when it does not run."""
    done = run(str(binary), "--version")
    found = re.match(r"k3s version (\S+)", done.output)
    return found.group(1) if done.status == 0 and found else None


def is_newer(one: str, other: str) -> bool:
    """Whether version `one` is newer than `other`; False when one of them is no version."""
    first, second = parse(one), parse(other)
    return first is not None and second is not None and first.key > second.key


def release_problem(text: str) -> tuple[str, str] | None:
    """What is wrong with a version to install: (problem, remedy), None for a release.

    Neither a channel, nor a release candidate, nor another maker's build is installed.
    """
    found = parse(text)
    if found and found.pre is None and found.make in MAKES and found.build:
        return None
    example = "a whole release tag, such as v1.36.4+k3s1"
    like = _LIKE_VERSION.fullmatch(text)
    if like:
        major, minor, patch, make, build = like.groups()
        example = f"v{major}.{minor}.{patch or 0}+{make or 'k3s'}{int(build or 1) or 1}"
    return "not a k3s release: its tags have the form vX.Y.Z+k3sN", f"write it as {example}"


def servers_problem(count: int) -> tuple[str, str] | None:
    """What is wrong with a number of servers: (problem, remedy), None for nothing."""
    if count in SERVERS:
        return None
    if count == 0:
        return "no server", "write one board below k3s_servers (or three for high availability)"
    if count > SERVERS[-1]:
        return f"{count} servers: each change waits for a majority of them", f"use {SERVERS[-1]}, the others as agents"
    return (
        f"{count} servers tolerate no more failures than {count - 1}: etcd needs a majority",
        f"use {count - 1} or {count + 1}",
    )
