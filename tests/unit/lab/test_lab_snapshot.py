"""Snapshots without boards: what is copied, replaced and refused."""

import json
import subprocess
from dataclasses import replace

import pytest

from lab import board as boards
from lab import cli, network, owner, process, settings, snapshot
from lab.errors import LabError

LAB = settings.parse((settings.PACKAGE / "lab.toml").read_text(), {"EDGE_LAB_NAME": "snaps"}, cpus=2)


@pytest.fixture
def instance(tmp_path, monkeypatch):
    """An instance with two cards in a checkout of its own, up but with all boards off."""
    for module in (settings, snapshot, owner):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(settings.Settings, "run", property(lambda self: tmp_path / "run"))
    monkeypatch.setattr(owner, "require_up", lambda _: None)
    monkeypatch.setattr(network, "is_cut", lambda *_: False)
    LAB.cards.mkdir(parents=True)
    for name in ("pi-01", "pi-02"):
        with LAB.card(LAB.board(name)).open("wb") as card:
            card.write(name.encode())
            card.truncate(1 << 30)
    return LAB


def contents(instance):
    return {path.name: path.open("rb").read(5) for path in instance.cards.iterdir()}


def leftovers(folder):
    return [path for path in folder.rglob(".*") if path.name != ".lab"]


def test_cards_and_files_are_restored_as_they_were(instance, tmp_path):
    secret = tmp_path / "secrets/snaps/token"
    secret.parent.mkdir(parents=True)
    secret.parent.chmod(0o700)
    secret.write_text("old")
    secret.chmod(0o600)
    snapshot.save(instance, "finished", [secret.parent], leave_off=False)
    before = contents(instance)
    instance.card(instance.board("pi-01")).write_bytes(b"other")
    instance.card(instance.board("pi-02")).unlink()
    instance.card(instance.board("pi-05")).write_bytes(b"blank card that was not there")
    secret.write_text("new")
    (secret.parent / "later").write_text("")
    snapshot.restore(instance, "finished")
    assert contents(instance) == before
    assert secret.read_text() == "old"
    assert [path.name for path in secret.parent.iterdir()] == ["token"]
    kept = instance.snapshots / "finished/included/secrets/snaps"
    for folder in (secret.parent, kept):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "token").stat().st_mode & 0o777 == 0o600
    assert (instance.snapshots / "finished").stat().st_mode & 0o777 == 0o700
    assert not leftovers(tmp_path)


def test_holes_of_cards_stay_holes(instance):
    snapshot.save(instance, "finished", [], leave_off=False)
    copy = instance.snapshots / "finished/cards/pi-01.img"
    assert copy.stat().st_size == 1 << 30
    assert copy.stat().st_blocks * 512 < 1 << 20


def test_boards_that_were_on_are_powered_on_again(instance, monkeypatch):
    done = []
    on = [instance.board("pi-02")]
    monkeypatch.setattr(boards, "shut_down", lambda *_: on)
    monkeypatch.setattr(boards, "power_on", lambda _, board: done.append(board.name))
    snapshot.save(instance, "finished", [], leave_off=False)
    assert done == ["pi-02"]
    snapshot.save(instance, "off", [], leave_off=True)
    assert done == ["pi-02"]
    snapshot.restore(instance, "off")
    assert done == ["pi-02", "pi-02"]


def test_boards_are_powered_on_again_when_nothing_could_be_saved(instance, monkeypatch):
    done = []
    monkeypatch.setattr(boards, "shut_down", lambda *_: [instance.board("pi-01")])
    monkeypatch.setattr(boards, "power_on", lambda _, board: done.append(board.name))
    monkeypatch.setattr(snapshot.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 0}))
    with pytest.raises(LabError, match="snapshot list"):
        snapshot.save(instance, "finished", [], leave_off=False)
    assert done == ["pi-01"]
    assert snapshot.names(instance) == [] and not leftovers(instance.snapshots)


def test_an_instance_of_other_settings_is_refused_with_what_differs(instance, monkeypatch):
    snapshot.save(instance, "finished", [], leave_off=False)
    before = contents(instance)
    other = replace(instance, subnet="10.99.0", boards=instance.boards[:2])
    monkeypatch.setattr(snapshot.kernel, "digest", lambda _: "0" * 16)
    with pytest.raises(LabError) as refused:
        snapshot.restore(other, "finished")
    message = str(refused.value)
    assert "set EDGE_LAB_SUBNET=10.77.0" in message
    assert "lab/lab.toml declares pi-01" in message
    assert "kernel: the snapshot has" in message
    assert "name:" not in message
    assert contents(instance) == before


def test_memory_and_core_of_a_board_do_not_matter(instance):
    snapshot.save(instance, "finished", [], leave_off=False)
    smaller = [replace(board, memory="1G", core=0) for board in instance.boards]
    snapshot.restore(replace(instance, boards=tuple(smaller)), "finished")


def test_a_killed_restore_has_changed_nothing_and_is_cleaned_up(instance, monkeypatch, tmp_path):
    snapshot.save(instance, "finished", [], leave_off=False)
    instance.card(instance.board("pi-01")).write_bytes(b"other")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "_replace", killed)
        with pytest.raises(KeyboardInterrupt):
            snapshot.restore(instance, "finished")
    assert contents(instance)["pi-01.img"] == b"other"
    assert leftovers(tmp_path)
    snapshot.restore(instance, "finished")
    assert contents(instance)["pi-01.img"] == b"pi-01"
    assert not leftovers(tmp_path)


def test_few_are_kept_and_a_name_is_used_again(instance):
    for number in range(snapshot.KEPT + 1):
        snapshot.save(instance, f"number-{number}", [], leave_off=False)
    assert "number-0" not in snapshot.names(instance)
    assert len(snapshot.names(instance)) == snapshot.KEPT
    instance.card(instance.board("pi-01")).write_bytes(b"newer")
    snapshot.save(instance, "number-1", [], leave_off=False)
    assert snapshot.names(instance)[0] == "number-1"
    assert (instance.snapshots / "number-1/cards/pi-01.img").read_bytes() == b"newer"
    assert "number-1" in snapshot.table(instance)
    snapshot.delete(instance, "number-1")
    assert "number-1" not in snapshot.table(instance)


@pytest.mark.parametrize("name", ["", "../cards", ".hidden", "UPPER", "a/b"])
def test_names_are_plain(instance, name):
    with pytest.raises(LabError, match="cannot name"):
        snapshot.save(instance, name, [], leave_off=False)
    for action in (snapshot.restore, snapshot.delete):
        with pytest.raises(LabError):
            action(instance, name)
    assert contents(instance)


def test_what_is_missing_is_reported(instance, tmp_path):
    with pytest.raises(LabError, match=r"no such snapshot \(there are: none\)"):
        snapshot.restore(instance, "finished")
    with pytest.raises(LabError, match="no such snapshot"):
        snapshot.delete(instance, "finished")
    for path in ("missing", "/etc", ".", "../outside"):
        with pytest.raises(LabError, match="is not a file or folder in"):
            snapshot.save(instance, "finished", [tmp_path / path], leave_off=False)
    for board in instance.boards[:2]:
        instance.card(board).unlink()
    with pytest.raises(LabError, match="nothing to keep"):
        snapshot.save(instance, "finished", [], leave_off=False)


def test_an_unreadable_snapshot_is_listed_with_what_to_do(instance):
    snapshot.save(instance, "finished", [], leave_off=False)
    (instance.snapshots / "finished" / snapshot.MANIFEST).write_text(json.dumps({"made": 0}))
    assert "snapshot delete finished" in snapshot.table(instance)
    snapshot.delete(instance, "finished")
    assert snapshot.names(instance) == []


def test_a_board_that_is_on_is_not_copied(instance):
    instance.run.mkdir(exist_ok=True)
    with subprocess.Popen(["sleep", "60"]) as daemon:
        process.write_identity(boards.pid_file(instance, instance.boards[0]), process.identify(daemon.pid))
        with pytest.raises(LabError, match="pi-01 was powered on meanwhile"):
            snapshot._all_off(instance)
        daemon.kill()


def test_the_first_board_is_shut_down_after_all_others(instance, monkeypatch):
    events = []
    monkeypatch.setattr(boards, "press_power_button", lambda _, board: events.append(("press", board.name)) or True)
    monkeypatch.setattr(boards, "power_off", lambda _, board, **__: events.append(("off", board.name)))
    stopped = boards.shut_down(instance, instance.boards)
    assert stopped == list(instance.boards)
    names = [board.name for board in instance.boards]
    others = len(names) - 1
    assert events[:others] == [("press", name) for name in names[1:]]
    assert events[others : 2 * others] == [("off", name) for name in names[1:]]
    assert events[2 * others :] == [("press", names[0]), ("off", names[0])]


def test_a_board_of_arm64_gets_five_times_as_long_to_shut_down(instance, monkeypatch):
    given = {}
    monkeypatch.setattr(boards, "press_power_button", lambda *_: True)
    monkeypatch.setattr(boards, "power_off", lambda _, board, hard, seconds: given.update({board.arch: seconds}))
    boards.shut_down(instance, [replace(instance.boards[1], arch=arch) for arch in ("amd64", "arm64")])
    assert given == pytest.approx({"amd64": 60, "arm64": 300}, abs=5)


def test_the_commands_are_understood():
    options = cli.parser().parse_args(["snapshot", "save", "x", "--include", "a", "--include", "b", "--leave-off"])
    assert [str(path) for path in options.include] == ["a", "b"]
    assert options.leave_off
