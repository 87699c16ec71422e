"""What the module reports of an NFS server."""

from pathlib import Path

from ansible_collections.edge_ai.cluster.plugins.modules import nfs_server_info as info


def test_the_state_of_the_directory(tmp_path: Path) -> None:
    assert info.directory_state(tmp_path / "none")["exists"] is False
    (tmp_path / "link").symlink_to(tmp_path)
    assert info.directory_state(tmp_path / "link")["symlink"] is True
    fresh = tmp_path / "export"
    fresh.mkdir(mode=0o750)
    state = info.directory_state(fresh)
    assert (state["directory"], state["empty"], state["mode"], state["mountpoint"]) == (True, True, "0750", False)
    (fresh / "lost+found").mkdir()
    assert info.directory_state(fresh)["empty"] is True
    (fresh / "weights").touch()
    assert info.directory_state(fresh)["empty"] is False
    (tmp_path / "file").touch()
    assert info.directory_state(tmp_path / "file")["directory"] is False


def test_accounts() -> None:
    assert info.account("root") == {"uid": 0, "gid": 0}
    assert info.account("no-such-user") == {"uid": -1, "gid": -1}


def test_addresses_that_are_listened_on() -> None:
    table = """tcp LISTEN 0 64      10.0.0.11:2049   0.0.0.0:*
tcp LISTEN 0 64   [fd00:1::11]:2049      [::]:*
tcp LISTEN 0 64   [fe80::1]%eth0:2049    [::]:*
udp UNCONN 0 0         0.0.0.0:40001  0.0.0.0:* users:(("rpc.mountd",pid=1206,fd=4))
tcp LISTEN 0 4096      0.0.0.0:12049  0.0.0.0:*
tcp LISTEN 0 4096            *:10250        *:*
"""
    assert info.listening_addresses(table, 2049) == ["10.0.0.11", "fd00:1::11", "fe80::1"]
    assert info.listening_addresses(table, 10250) == ["*"]
    assert info.listening_addresses("", 2049) == []


def test_addresses_of_this_machine_and_of_others() -> None:
    assert info.address_kind("127.0.0.1") == "own"
    assert info.address_kind("203.0.113.7") == "foreign"
    assert info.address_kind("localhost") == "none"
