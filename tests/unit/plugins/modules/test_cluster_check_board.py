"""What check.yml calls a problem of a board."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.command import Done
from ansible_collections.edge_ai.cluster.plugins.modules import cluster_check_board as module

CARD = """\
/dev/mmcblk0p2 / ext4 {root},relatime 0 0
/dev/mmcblk0p1 /boot/firmware vfat {boot},relatime 0 0
tmpfs /run tmpfs ro,nosuid 0 0
/dev/mmcblk0p2 /var/lib/kubelet/pods/a/volume-subpaths/b ext4 ro,relatime 0 0
10.0.0.1:/ /var/lib/kubelet/pods/a/my\\040data nfs4 rw,vers=4.2 0 0
"""


@pytest.mark.parametrize(
    ("root", "boot", "points"),
    [("rw", "rw", []), ("ro", "rw", ["/"]), ("rw", "ro", ["/boot/firmware"]), ("rw,emergency_ro", "rw", ["/"])],
)
def test_a_card_that_became_read_only_is_reported_once(root: str, boot: str, points: list[str]) -> None:
    problems = module.read_only(module.mounts_of(CARD.format(root=root, boot=boot)))
    assert [problem.split()[0] for problem in problems] == points


def certificate(name: str, days: float) -> dict[str, Any]:
    end = dt.datetime(2027, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=days)
    return {"Filename": name, "ExpiryTime": end.isoformat(), "ResidualTime": int(days * module.DAY_NS)}


@pytest.mark.parametrize(
    ("days", "text"), [(91, None), (90.5, None), (89.9, "in 89 days"), (0.5, "in 0 days"), (-0.5, "ended on")]
)
def test_a_certificate_is_reported_before_it_ends(days: float, text: str | None) -> None:
    listed = {"Certificates": [certificate("client-kubelet.crt", days), certificate("client-kubelet.crt", 1)]}
    listed["Certificates"] += [certificate("serving-kubelet.crt", 300), certificate("serving-kubelet.crt", 3000)]
    problems, end = module.ending(listed, 90)
    assert end == certificate("", days)["ExpiryTime"][:10], "the CA that follows a leaf is not the leaf"
    assert len(problems) == (text is not None)
    assert text is None or (text in problems[0] and "client-kubelet.crt" in problems[0])


def test_a_board_without_k3s_has_no_certificates() -> None:
    assert module.ending({"Certificates": None}, 90) == ([], "")


def test_a_certificate_of_the_future_is_reported() -> None:
    future = certificate("client-kubelet.crt", 300) | {"Status": "NOT YET VALID"}
    (problem,), end = module.ending({"Certificates": [certificate("serving-kubelet.crt", 200), future]}, 90)
    assert problem.startswith("certificate client-kubelet.crt is not valid before 2027-10-28: ")
    assert end == ""


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 3", "exit status 3"),
        ("echo nonsense", "no answer that can be read"),
        ("echo '[]'", "no answer that can be"),
    ],
)
def test_certificates_of_which_k3s_says_nothing_are_a_problem(tmp_path: Path, script: str, words: str) -> None:
    k3s = tmp_path / "k3s"
    k3s.write_text(f"#!/bin/sh\n{script}\n")
    k3s.chmod(0o700)
    (problem,), end = module.certificates({"k3s": str(k3s), "data_dir": "/d", "certificate_days": 90})
    assert problem.startswith("it is not known when its certificates end") and words in problem
    assert end == ""


ETAB = "/srv/my\\040data\t10.0.0.2({0},sync,all_squash,anonuid=10001)\n/srv/my\\040data\t10.0.0.3(rw,sync)\n"


@pytest.mark.parametrize(
    ("mode", "other", "etab", "words"),
    [
        (0o2770, 0, ETAB.format("rw"), None),
        (0o550, 0, ETAB.format("rw"), "with mode 0550"),
        (0o770, 1, ETAB.format("rw"), "cannot write to"),
        (0o770, 0, ETAB.format("ro"), "is exported read-only to 10.0.0.2:"),
        (0o770, 0, ETAB.format("rw").replace("/srv", "/other"), "is not exported"),
        (0o770, 0, "", "is not exported"),
    ],
)
def test_an_export_that_can_be_read_must_be_written_too(
    tmp_path: Path, mode: int, other: int, etab: str, words: str | None
) -> None:
    export = tmp_path / "srv" / "my data"
    export.mkdir(parents=True)
    export.chmod(mode)
    found = module.export_problems(export, export.stat().st_uid + other, etab.replace("/srv/", f"{tmp_path}/srv/"))
    assert [words] == [word for word in [words] if found and word in found[0]] if words else not found


def test_an_export_that_is_gone_is_a_problem(tmp_path: Path) -> None:
    assert "cannot be read" in module.export_problems(tmp_path / "gone", 0, "")[0]


def test_errors_that_ext4_noted_are_reported(tmp_path: Path) -> None:
    for name, count in (("mmcblk0p2", "3"), ("sda1", "0")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "errors_count").write_text(f"{count}\n")
    (problem,) = module.recorded_errors(tmp_path)
    assert problem.startswith("mmcblk0p2 has noted 3 file system errors")


def test_a_share_is_asked_once_and_must_answer(tmp_path: Path) -> None:
    answering = module.Mount("server:/", str(tmp_path), "nfs4", ["rw"])
    stale = module.Mount("other:/", str(tmp_path / "gone"), "nfs4", ["rw"])
    (problem,) = module.hung([answering, stale, stale._replace(point="/elsewhere")], 10)
    assert problem.startswith(f"the share other:/ answers with an error at {tmp_path}/gone")


def test_use_is_counted_as_df_counts(tmp_path: Path) -> None:
    room, inodes = module.usage(str(tmp_path))
    assert 0 <= room <= 100
    assert 0 <= inodes <= 100


@pytest.mark.parametrize(("synchronized", "reported"), [("yes", ["ssh"]), ("no", ["ssh", "systemd-time-wait-sync"])])
def test_a_wait_for_the_time_that_came_later_is_no_problem(
    synchronized: str, reported: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = "ssh.service loaded failed failed OpenSSH\nsystemd-time-wait-sync.service loaded failed failed Wait\n"

    def run(*argv: str, timeout: int) -> Done:
        del timeout
        return Done(0, {"list-units": listed, "is-active": "active\n", "show": f"{synchronized}\n"}[argv[1]], "")

    monkeypatch.setattr(module, "run", run)
    assert [problem.split()[1] for problem in module.failed_units("k3s")] == [f"{each}.service" for each in reported]


def test_what_was_moved_aside_is_shown_with_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 2)
    data, export = tmp_path / "k3s", tmp_path / "books"
    old = data / "server.before-restore-20261122T060000Z"
    old.mkdir(parents=True)
    (old / "state.db").write_bytes(b"x" * (2 << 20))
    (data / "server").mkdir()
    for day in (1, 2, 3):
        (export / f".before-restore-2026010{day}T000000Z").mkdir(parents=True)
    # Made by a notebook.
    for name in ("\n", "; reboot", "-20260104T000000Z"):
        (export / f".before-restore-20260104T000000Z{name}").mkdir()
    (export / ".before-restore-20260105T000000Z").symlink_to("/")
    (tmp_path / "books.before-convert").mkdir()
    shown = module.kept(data, export, tmp_path / "books.before-convert")
    assert shown[0].startswith(f"{old} is kept from before (3 MB): ") and shown[0].endswith(f"sudo rm -r {old}")
    assert [text.split()[0] for text in shown[1:]] == [
        f"{export}/.before-restore-20260103T000000Z",
        f"{export}/.before-restore-20260102T000000Z",
        f"{export}.before-convert",
    ]
    assert module.kept(tmp_path / "none", None, tmp_path / "none") == []
    monkeypatch.setattr(module, "run", lambda *argv, timeout: Done(124, "", ""))
    assert "not measured within 20 s" in module.kept(data, None, None)[0]
