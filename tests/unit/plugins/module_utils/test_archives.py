"""Archives of others are unpacked without following a link."""

from __future__ import annotations

import contextlib
import io
import tarfile
from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils import archives


@pytest.mark.parametrize("swapped", ["a", "a/b", "a/b/c"])
def test_an_ancestor_that_becomes_a_link_meanwhile_is_not_followed(tmp_path: Path, swapped: str) -> None:
    """Each folder above a file, replaced by a link to elsewhere between two members."""
    outside, target = tmp_path / "outside", tmp_path / "target"
    for folder in (outside / "b/c", outside / "c", target):
        folder.mkdir(parents=True)
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:gz") as made:
        for number in (1, 2):
            info = tarfile.TarInfo(f"a/b/c/{number}")
            info.size = 1
            made.addfile(info, io.BytesIO(b"x"))
    tar.seek(0)
    with contextlib.closing(archives.Target(target)) as folder:
        for member in archives.members(tar, archives.Limits(1 << 20)):
            assert member.content
            if member.parts[-1] == "1":
                for depth in range(1, len(member.parts)):
                    folder.make_folder(member.parts[:depth], archives.Entry(0o755))
                with folder.file(member.parts, archives.Entry(0o644)) as file:
                    archives.copy(member.content, file)
                (target / swapped).rename(tmp_path / "moved")
                (target / swapped).symlink_to(outside / swapped.removeprefix("a").lstrip("/"))
                continue
            with (
                pytest.raises(archives.Refused, match="leads over a link"),
                folder.file(member.parts, archives.Entry(0o644)) as file,
            ):
                archives.copy(member.content, file)
    assert not [path for path in outside.rglob("*") if path.is_file()]
