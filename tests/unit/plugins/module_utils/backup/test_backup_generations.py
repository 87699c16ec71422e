"""Backups that are chosen, compared with an inventory, and removed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.backup import archive, generations

from tests.support.backups import Faults, Owner, change


@pytest.mark.parametrize("offset", [0.2, 0.5, 0.9])
def test_a_flipped_byte_is_refused(backup: Path, offset: float, faults: Faults) -> None:
    path = backup / archive.DATA
    content = bytearray(path.read_bytes())
    content[int(len(content) * offset)] ^= 1
    path.write_bytes(content)
    assert faults(backup) == [f"{archive.DATA} was changed or damaged: its SHA-256 is not the one in manifest.json"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"cluster_name": "other"}, "it is of the cluster other, this inventory is of home"),
        ({"k3s_version": "v1.36.5+k3s1"}, "is newer than k3s_version v1.36.4+k3s1"),
        ({"k3s_version": "v1.34.9+k3s1"}, "skips minor releases"),
        ({"k3s_version": "stable"}, "cannot be compared"),
        ({"datastore": "etcd"}, "needs|three servers"),
        ({"datastore": "mysql"}, "is not supported"),
        ({"ca_sha256": "0" * 64}, "holds another CA"),
        ({"format": 2}, "has format 2: a backup of before they were encrypted and signed"),
        ({"format": 4}, "has not format 3"),
        ({"created": "../../etc"}, "created is not a time stamp"),
        ({"created": "20261122T050001Z"}, "its directory has another backup's name"),
        ({"server": None}, "lacks server"),
        ({"files": {}}, "no entry for server.tar.gz.age"),
        ({"files": {"server.tar.gz.age": {}, "../x": {}}}, "not supported"),
    ],
)
def test_foreign_and_newer_backups_are_refused(
    backup: Path, values: dict[str, Any], words: str, owner: Owner, faults: Faults
) -> None:
    change(backup, owner, **values)
    assert any(word in "; ".join(faults(backup)) for word in words.split("|"))


def test_all_reasons_are_listed_at_once(backup: Path, owner: Owner, faults: Faults) -> None:
    change(backup, owner, cluster_name="other", k3s_version="v1.37.0+k3s1")
    (backup / archive.SERVER).unlink()
    (backup / archive.DATA).write_bytes(b"x")
    assert len(faults(backup)) == 4


def test_unfinished_backups_are_none(backup: Path, faults: Faults) -> None:
    there = backup.parent
    shutil.copytree(backup, there / ".part-20261122T060000Z")
    (there / "20261122T070000Z").mkdir()
    assert generations.stamps(there) == [backup]
    assert generations.choose("latest", there) == generations.choose(backup.name, there) == backup
    with pytest.raises(generations.BackupError, match=r"restore_from is missing.*20261122T050000Z"):
        generations.choose("", there)
    with pytest.raises(generations.BackupError, match="holds no backup"):
        generations.choose("latest", there / "none")
    assert "not finished" in faults(there / "20261122T070000Z")[0]


def test_a_manifest_of_any_length_or_depth_is_refused_in_little_memory(backup: Path, faults: Faults) -> None:
    manifest = backup / generations.MANIFEST
    manifest.write_text("[" * 1_000_000)
    assert "is not JSON" in faults(backup)[0]
    # More than a machine has.
    os.truncate(manifest, 1 << 42)
    assert "is not JSON" in faults(backup)[0]


def test_only_the_oldest_of_this_cluster_go_and_none_by_default(backup: Path, owner: Owner) -> None:
    there = backup.parent
    for hour in (6, 7, 8):
        shutil.copytree(backup, there / f"20261122T0{hour}0000Z")
    change(there / "20261122T060000Z", owner, cluster_name="other")
    assert generations.prune(there, 0, "home", "20261122T080000Z") == []
    assert generations.prune(there, 2, "home", "20261122T080000Z") == [backup.name]
    assert sorted(each.name for each in there.iterdir()) == [f"20261122T0{hour}0000Z" for hour in (6, 7, 8)]


@pytest.mark.parametrize(
    ("names", "made", "keep", "gone"),
    [
        ("1 2 3", "3", 2, "1"),
        ("1 2 3", "3", 0, ""),
        ("1 2 3", "3", 9, ""),
        # The clock was ahead when 8 and 9 were made: they are neither counted nor removed.
        ("1 2 3 8 9", "3", 2, "1"),
        ("3 9", "3", 1, ""),
        ("9", "3", 1, ""),
        ("", "3", 1, ""),
    ],
)
def test_the_newest_stay_whatever_the_clock_was(names: str, made: str, keep: int, gone: str) -> None:
    assert generations.surplus(names.split(), made, keep) == gone.split()


def test_backups_of_other_clusters_in_the_directory_do_not_count(backup: Path, owner: Owner) -> None:
    for hour in (6, 7, 8):
        shutil.copytree(backup, backup.parent / f"20261122T0{hour}0000Z")
    for hour in (6, 7):
        change(backup.parent / f"20261122T0{hour}0000Z", owner, cluster_name="other")
    assert generations.prune(backup.parent, 2, "home", "20261122T080000Z") == []


def test_the_latest_is_none_that_is_of_the_future(backup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generations.time, "time", lambda: 1_795_321_800.0)  # 04:30, within the hour
    assert generations.choose("latest", backup.parent) == backup
    monkeypatch.setattr(generations.time, "time", lambda: 1_795_237_200.0)  # on the day before
    with pytest.raises(
        generations.BackupError, match=r"after now, which is 20261121T.*set the clock.*20261122T050000Z\)"
    ):
        generations.choose("latest", backup.parent)
    assert generations.choose(backup.name, backup.parent) == backup
