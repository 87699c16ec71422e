"""What is mounted, or to be: /proc/self/mounts and fstab, by their texts. Standard library only: it runs on boards."""

from __future__ import annotations

import re
from itertools import takewhile
from typing import NamedTuple

#: Kinds of mounts of an NFS server.
NFS = ("nfs", "nfs4")


class Mount(NamedTuple):
    """A line of such a text."""

    source: str
    point: str
    kind: str
    options: list[str]


def unescaped(text: str) -> str:
    """A path as it is: in these files and in those of exports, a blank is written as \\040."""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), text)


def mounts_of(text: str) -> list[Mount]:
    """The mounts in a text; comments are left out."""
    # The kernel writes a # in a path as it is.
    lines = [list(takewhile(lambda word: word[0] != "#", line.split())) for line in text.splitlines()]
    return [Mount(each[0], unescaped(each[1]), each[2], "".join(each[3:4]).split(",")) for each in lines if each[2:]]
