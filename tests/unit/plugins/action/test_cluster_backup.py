"""Backups as the action makes, opens and restores them on the control node."""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.action import cluster_backup as action
from ansible_collections.edge_ai.cluster.plugins.module_utils.backup import archive, control_node, generations, seal

from tests.support.backups import SECRET, VERSION, Owner, change, database, make_export, make_k3s, root, small_disk


def test_what_is_no_api_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            connection.sendall(b"SSH-2.0-OpenSSH\r\n")
            connection.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        assert action.running_apis([f"http://127.0.0.1:{server.getsockname()[1]}"]) == {}
        thread.join()


def test_an_api_that_sends_a_byte_at_a_time_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                for _ in range(100):
                    connection.sendall(b"x")
                    time.sleep(0.1)

        threading.Thread(target=drip, daemon=True).start()
        begun = time.monotonic()
        assert action.running_apis([f"http://127.0.0.1:{server.getsockname()[1]}"], seconds=1) == {}
        assert time.monotonic() - begun < 5


def make_task(folder: Path, owner: Owner, **more: Any) -> dict[str, Any]:
    """What makes a backup of a board, which is this machine."""
    k3s, export = make_k3s(folder), make_export(folder)
    with database(k3s):
        pass
    commands = {
        archive.SERVER: ["send-server", "--data-dir", str(k3s), "--datastore", "sqlite"],
        archive.DATA: ["send-data", "--export", str(export)],
    }
    ssh = {"name": "pi-01", "host": "pi-01", "connection": "local"}
    return {
        "directory": str(folder / "backups"),
        "secrets": str(owner.secrets),
        "inventories": [],
        "keep": 1,
        "copy_to": "",
        "copy_ssh_args": "",
        "timeout": 60,
        "manifest": {"cluster_name": "home", "k3s_version": VERSION, "datastore": "sqlite", "server": "pi-01"},
        "parts": [{"name": name, "title": name, "ssh": ssh, "arguments": args} for name, args in commands.items()],
        **more,
    }


@root
def test_a_backup_that_was_made_just_now_is_never_removed(
    backup: Path, owner: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(backup, backup.with_name("20271122T050000Z"))
    change(backup.with_name("20271122T050000Z"), owner, created="20271122T050000Z")
    monkeypatch.setattr(generations, "stamp", lambda _: "20261123T000000Z")
    disk = tmp_path / "disk"
    disk.mkdir()
    task = make_task(tmp_path / "board", owner, directory=str(backup.parent), copy_to=str(disk))
    done = action.make(task, print)
    assert Path(done["backup"]).is_dir()
    assert "; removed 20261122T050000Z\nCopied to " in done["msg"]
    assert [each.name for each in generations.stamps(backup.parent)] == ["20261123T000000Z", "20271122T050000Z"]
    assert [each.name for each in generations.stamps(disk / "home")] == ["20261123T000000Z"]
    # Both are on one disk here.
    assert "is on the same disk as" in done["warnings"][0]


@root
@pytest.mark.parametrize("size", ["64k", "220k"])
def test_a_disk_that_fills_meanwhile_ends_the_backup_and_has_its_room_again(
    owner: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    """The room was there when the backup began."""
    monkeypatch.setattr(action.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 40))
    with small_disk(tmp_path / "disk", size) as disk:
        task = make_task(tmp_path / "board", owner, directory=str(disk / "b"))
        with pytest.raises((seal.BackupError, OSError), match=r"(?i)no space left"):
            action.make(task, print)
        assert sorted(path.name for path in (disk / "b").iterdir()) == [".lock"]


@root
def test_a_backup_whose_manifest_is_too_long_to_be_read_is_not_kept(owner: Owner, tmp_path: Path) -> None:
    task = make_task(tmp_path / "board", owner, directory=str(tmp_path / "b"))
    # As the server says it.
    task["manifest"]["k3s_version"] = "v" * (5 << 20)
    with pytest.raises(seal.BackupError, match="is not JSON"):
        action.make(task, print)
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == [".lock"]


def test_two_backups_at_once_are_refused(tmp_path: Path) -> None:
    with action.alone(tmp_path / "b"), pytest.raises(Exception, match="is running"), action.alone(tmp_path / "b"):
        pass
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o700


def test_the_token_of_another_cluster_is_kept_beside(backup: Path, tmp_path: Path, owner: Owner) -> None:
    there = tmp_path / "secrets/k3s-token"
    agents = there.with_name("k3s-agent-token")
    task = {
        "directory": str(backup),
        "identity": str(owner.key.path),
        "expect": {"token_file": str(there), "agent_token_file": str(agents)},
    }
    assert action.token(task, pretend=True) == {"changed": True}
    assert not there.exists()
    assert action.token(task, pretend=False) == {"changed": True}
    assert there.read_text() == SECRET + "\n"
    assert there.stat().st_mode & 0o777 == 0o600
    assert action.token(task, pretend=False) == {"changed": False}
    there.write_text("another\n")
    action.token(task, pretend=False)
    assert (there.parent / f"k3s-token.before-{backup.name}").read_text() == "another\n"
    # The backup's cluster has none of its own for agents: one that lies there is of another cluster.
    agents.write_text("another\n")
    assert action.token(task, pretend=False) == {"changed": True}
    assert not agents.exists()


def open_task(backup: Path, owner: Owner, **values: Any) -> dict[str, Any]:
    return {
        "identity": str(owner.key.path),
        "directory": str(backup.parent),
        "wanted": str(backup),
        "cluster_name": "home",
        **values,
    }


def test_opening_says_which_checkout_made_it(backup: Path, owner: Owner) -> None:
    found = action.open_backup(open_task(backup, owner))
    assert found["changed"] is False and found["data"] is True
    assert f"was made by commit {'c' * 40}, this checkout is commit" in found["msg"][1]
    assert action.differs({"commit": "a", "changed": False}, {"commit": "a", "changed": False}) == ""
    assert "with changes" in action.differs({"commit": "a", "changed": True}, {"commit": "a", "changed": False})


@pytest.mark.parametrize("name", [archive.SERVER, archive.DATA, archive.CONTROL])
def test_opening_refuses_before_anything_is_written(backup: Path, owner: Owner, name: str) -> None:
    content = bytearray((backup / name).read_bytes())
    content[-1] ^= 1
    (backup / name).write_bytes(content)
    with pytest.raises(Exception, match=f"nothing was changed:\n  {name} was changed or damaged"):
        action.open_backup(open_task(backup, owner))
    with pytest.raises(Exception, match="it is of the cluster home, this inventory is of other"):
        action.open_backup(open_task(backup, owner, cluster_name="other"))


def test_a_new_control_node_gets_secrets_and_inventory(
    backup: Path, owner: Owner, tmp_path: Path, node_parts: dict[str, Path]
) -> None:
    new = tmp_path / "new"
    targets = {"secrets": new / "secrets/home", "inventory/0": new / "inventory/home", "inventory/1": new / "more.yml"}
    task = {
        "identity": str(owner.key.path),
        "directory": str(backup),
        "targets": {part: str(path) for part, path in targets.items()},
    }
    assert action.control(task, pretend=True)["changed"] is True
    assert not new.exists()
    # An empty folder is none.
    targets["secrets"].mkdir(parents=True)
    done = action.control(task, pretend=False)
    assert done == {"changed": True, "msg": [f"{path}: restored" for path in targets.values()]}
    for part, path in targets.items():
        here, there = control_node.files_below(path), control_node.files_below(node_parts[part])
        assert {name: each.read_bytes() for name, each in here.items()} == {
            name: each.read_bytes() for name, each in there.items()
        }
    assert {each.stat().st_mode & 0o777 for each in targets["secrets"].rglob("*") if each.is_file()} == {0o600}
    assert {each.stat().st_mode & 0o777 for each in targets["secrets"].rglob("*") if each.is_dir()} == {0o700}
    assert (targets["inventory/0"] / "hosts.py").stat().st_mode & 0o777 == 0o755
    assert not list(new.rglob(".*"))
    assert action.control(task, pretend=False) == {"changed": False, "msg": []}
    # Other secrets are never overwritten, and what differs is said.
    (targets["secrets"] / "id_ed25519").write_text("mine")
    (targets["secrets"] / "ssh_host_keys/pi-01/key").unlink()
    again = action.control(task, pretend=False)
    assert again["changed"] is False
    assert "is kept, though it is not as in the backup: id_ed25519, ssh_host_keys/pi-01/key." in again["msg"][0]
    assert (targets["secrets"] / "id_ed25519").read_text() == "mine"


def test_secrets_that_are_partly_lost_are_completed(
    backup: Path, owner: Owner, tmp_path: Path, node_parts: dict[str, Path]
) -> None:
    secrets = tmp_path / "new/secrets"
    shutil.copytree(node_parts["secrets"], secrets)
    shutil.rmtree(secrets / "ssh_host_keys")
    (secrets / "id_ed25519").unlink()
    (secrets / "of-later").write_text("is not in the backup")
    task = {"identity": str(owner.key.path), "directory": str(backup), "targets": {"secrets": str(secrets)}}
    assert action.control(task, pretend=True) == {"changed": True, "msg": [f"{secrets}: would be restored"]}
    assert not (secrets / "id_ed25519").exists()
    assert action.control(task, pretend=False) == {"changed": True, "msg": [f"{secrets}: restored"]}
    assert (secrets / "id_ed25519").read_text() == "login key"
    assert (secrets / "ssh_host_keys/pi-01/key").read_text() == "host key"
    assert (secrets / "ssh_host_keys/pi-01/key").stat().st_mode & 0o777 == 0o600
    assert (secrets / "ssh_host_keys/pi-01").stat().st_mode & 0o777 == 0o700
    assert (secrets / "of-later").exists()
    assert [path.name for path in secrets.parent.iterdir()] == ["secrets"]
    assert action.control(task, pretend=False) == {"changed": False, "msg": []}
