"""What is read on a node: its kernel, its key, its configuration, and its clock."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.modules import k3s_node as node


def test_a_file_that_a_clock_ahead_has_written_does_not_restart_k3s_for_ever(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    paths = [tmp_path / "config.yaml", tmp_path / "absent"]
    now = (tmp_path / "config.yaml").stat().st_ctime
    assert node.changed_since(paths, int(now) - 5, now) == [str(paths[0])]
    assert node.changed_since(paths, int(now) + 5, now + 9) == []
    assert node.changed_since(paths, 0, now) == []
    # The clock was a year ahead, and is not any more.
    assert node.changed_since(paths, int(now) - 365 * 86400 + 5, now - 365 * 86400) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3, ""), (-3600, "3600 s behind the control node's"), (395 * 86400, "395 days ahead of the control node's")],
)
def test_clocks_that_differ_are_reported(seconds: float, text: str) -> None:
    assert node.difference(seconds) == text


@pytest.mark.parametrize(
    ("unit", "content", "encrypted"),
    [("k3s", "{}", True), ("k3s", "", False), ("k3s", None, False), ("k3s-agent", "{}", False)],
)
def test_a_server_with_a_key_encrypts_secrets(tmp_path: Path, unit: str, content: str | None, encrypted: bool) -> None:
    if content is not None:
        (tmp_path / "server/cred").mkdir(parents=True)
        (tmp_path / "server/cred/encryption-config.json").write_text(content)
    params: dict[str, Any] = {"unit": unit, "binary": "/none", "data_dir": str(tmp_path), "secrets_path": "/none"}
    module: Any = SimpleNamespace(params=params)
    assert node.Node(module).encryption() is encrypted


def test_a_token_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    here = SimpleNamespace(data=tmp_path, module=SimpleNamespace(params={"until": "token"}))
    path = tmp_path / "server/agent-token"
    assert "no token" in node.Node.lacks(here, {})  # type: ignore[arg-type]
    path.parent.mkdir()
    path.write_text(f"K10{'0' * 64}::node:")
    assert "no token" in node.Node.lacks(here, {})  # type: ignore[arg-type]
    path.write_text(f"K10{'0' * 64}::node:{'a' * 40}\n")
    assert node.Node.lacks(here, {}) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("disable:\n- servicelb\nnode-ip: 192.168.1.11\ntls-san: [a]\n", "192.168.1.11"),
        ("node-ip: '192.168.1.11'\n", "192.168.1.11"),
        ("node-ip:\n- 192.168.1.11\n- fd00::1\n", ""),
        ("# node-ip: 192.168.1.11\nx-node-ip: 192.168.1.11\n", ""),
        (None, ""),
    ],
)
def test_the_address_that_k3s_was_given_is_read(tmp_path: Path, text: str | None, address: str) -> None:
    if text is not None:
        (tmp_path / "config.yaml").write_text(text)
    assert node.configured_address(tmp_path / "config.yaml") == address
