"""How ssh is started."""

from ansible_collections.edge_ai.cluster.plugins.module_utils.ssh import ssh_argv, stream_argv


def test_ssh_takes_the_inventorys_own_options() -> None:
    ssh = {
        "connection": "ssh",
        "host": "192.0.2.1",
        "port": 2222,
        "user": "pi",
        "key": "/k",
        "args": "-o 'A=b c' -o D=e",
    }
    argv = stream_argv(ssh)
    assert argv[-5:] == ["-o", "A=b c", "-o", "D=e", "192.0.2.1"]
    assert argv[argv.index("-p") :][:2] == ["-p", "2222"]
    assert "Compression=no" in argv


def test_what_is_empty_is_left_to_ssh_s_configuration() -> None:
    assert ssh_argv("192.0.2.1", {}) == ["ssh", "-T", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "192.0.2.1"]
    assert stream_argv({"host": "192.0.2.1", "user": "", "port": "", "key": "", "args": " "})[-1] == "192.0.2.1"
    assert "-l" not in stream_argv({"host": "192.0.2.1"})


def test_a_key_of_one_s_home_is_found() -> None:
    argv = ssh_argv("192.0.2.1", {}, key="~/.ssh/id")
    assert not argv[argv.index("-i") + 1].startswith("~")
