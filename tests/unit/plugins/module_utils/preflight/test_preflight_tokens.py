"""Tokens of k3s that were written by hand, in each form that k3s knows."""

from pathlib import Path

import pytest
import yaml
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.model import (
    Host,
    Inventory,
    Place,
    Report,
    Setting,
)
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.tokens import check_files

from tests.support.paths import ROOT

DEFAULTS = yaml.safe_load((ROOT / "roles/k3s/defaults/main.yml").read_text())
CA = "K10" + "0" * 64
SHORT = "uw3m8vfd0pnrmwdk5b1y"
BOOTSTRAP = "abcdef.0123456789abcdef"


def check(tmp_path: Path, **files: str | bytes) -> list[str]:
    folder = tmp_path / "secrets"
    folder.mkdir()
    for name, text in files.items():
        data = text if isinstance(text, bytes) else text.encode()
        (folder / name.replace("_", "-")).write_bytes(data)
    settings = {"cluster_secrets_dir": Setting("cluster_secrets_dir", str(folder), Place("all.yml"))}
    host = Host("pi-01", Place("hosts.yml"), frozenset(), settings)
    report = Report()
    check_files(Inventory(Place("hosts.yml"), {"pi-01": host}, {}, {}, (), DEFAULTS), tmp_path, report)
    return [str(finding) for finding in report.findings()]


def test_the_forms_that_the_roles_write_are_no_error(tmp_path: Path) -> None:
    assert (
        check(tmp_path, k3s_token=f"{SHORT}\r\n", k3s_agent_token="a:b", k3s_node_token=f"{CA}::node:{SHORT}\n") == []
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("\n", "empty; delete the file"),
        (f"{CA}::server:{SHORT}", "the full form of a token, which belongs to one cluster; write its last part alone"),
        (BOOTSTRAP, "a bootstrap token, which expires; "),
        (f"{CA}::{BOOTSTRAP}", "a bootstrap token, which expires; "),
        ("two words", "more than one word; "),
        ("\ufeffsecret", "has characters that are not ASCII; "),
        (b"\xff\xfe", "cannot be read: "),
    ],
)
def test_other_forms_of_the_cluster_s_token_are_reported(tmp_path: Path, text: str | bytes, problem: str) -> None:
    (found,) = check(tmp_path, k3s_token=text)
    assert found.startswith(f"secrets/k3s-token: k3s_token_file: {problem}")
    assert SHORT not in found and BOOTSTRAP not in found


@pytest.mark.parametrize("text", [SHORT, BOOTSTRAP, f"{CA}::{BOOTSTRAP}", ""])
def test_a_node_s_token_is_in_full(tmp_path: Path, text: str) -> None:
    (found,) = check(tmp_path, k3s_node_token=text)
    assert "secrets/k3s-node-token: k3s_node_token_file: not the full form of a token" in found


def test_the_file_of_each_variable_is_the_roles_default(tmp_path: Path) -> None:
    found = check(tmp_path, k3s_token="", k3s_agent_token="", k3s_node_token="")
    assert [line.split(": ")[:2] for line in found] == [
        ["secrets/k3s-agent-token", "k3s_agent_token_file"],
        ["secrets/k3s-node-token", "k3s_node_token_file"],
        ["secrets/k3s-token", "k3s_token_file"],
    ]
