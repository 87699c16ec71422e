"""Exports of others are parsed, so that they can be left alone."""

from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.nfs import exports


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("/srv/books 10.0.0.1(rw)", "/srv/books"),
        ('"/srv/my data" *(ro)', "/srv/my data"),
        (r"/srv/my\040data *(ro)", "/srv/my data"),
        ("/srv/alone", "/srv/alone"),
    ],
)
def test_paths_of_exports(line: str, path: str) -> None:
    assert exports.exported_path(line) == path


@pytest.mark.parametrize(
    ("line", "root"),
    [
        ("/srv *(rw,fsid=0)", True),
        ("/srv *(fsid=0,rw)", True),
        ("/srv *(rw,fsid=root,sync)", True),
        ("/srv *(rw, fsid=0)", True),
        ("/srv 10.0.0.1(rw) 10.0.0.2(rw,fsid=0)", True),
        ("/srv *(rw,fsid=01234567)", False),
        ("/srv *(rw)", False),
    ],
)
def test_the_nfsv4_root_is_recognised(line: str, root: bool) -> None:
    assert exports.is_root_export(line) is root


def test_clients_of_an_export_are_those_of_its_own_path() -> None:
    etab = "/srv/my\\040data\t10.0.0.2(rw,sync)\n/srv/my\t10.0.0.9(ro)\n/srv/my\\040data\t10.0.0.0/24(ro,sync)\n"
    assert exports.active_clients(etab, "/srv/my data") == ["10.0.0.2(rw,sync)", "10.0.0.0/24(ro,sync)"]
    assert exports.active_clients(etab, "/srv") == []


def test_foreign_exports_are_found_and_ours_is_not_among_them(tmp_path: Path) -> None:
    (tmp_path / "exports.d").mkdir()
    (tmp_path / "exports").write_text("# /srv/old *(rw)\n/srv/music \\\n  *(ro)  # all of it\n\n")
    own = tmp_path / "exports.d" / "edge-ai-cluster.exports"
    own.write_text("/srv/books *(rw,fsid=0)\n")
    (tmp_path / "exports.d" / "media.exports").write_text("/srv/films *(ro,fsid=0)\n")
    (tmp_path / "exports.d" / "ignored.txt").write_text("/srv/none *(ro)\n")
    assert exports.foreign_exports(own, tmp_path) == [
        {"file": str(tmp_path / "exports"), "path": "/srv/music", "root": False},
        {"file": str(tmp_path / "exports.d" / "media.exports"), "path": "/srv/films", "root": True},
    ]
