"""Versions of k3s, such as v1.36.4+k3s1."""

from __future__ import annotations

import re
from dataclasses import dataclass

_VERSION = re.compile(r"v(\d+)\.(\d+)\.(\d+)(?:-(?:rc|alpha|beta)\.?(\d+))?\+([a-z0-9]*[a-z])(\d+)")
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


def is_newer(one: str, other: str) -> bool:
    """Whether version `one` is newer than `other`; False when one of them is no version."""
    first, second = parse(one), parse(other)
    return first is not None and second is not None and first.key > second.key
