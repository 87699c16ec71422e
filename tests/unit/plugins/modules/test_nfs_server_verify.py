"""What the module says of an export that refuses this board."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

MODULE = "ansible_collections.edge_ai.cluster.plugins.modules.nfs_server_verify"


def test_a_refused_mount_names_the_address_that_it_came_from(tmp_path: Path) -> None:
    for name in ("mount", "mount.nfs4"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'access denied by server while mounting' >&2\nexit 32\n")
        (tmp_path / name).chmod(0o755)
    given = {"ANSIBLE_MODULE_ARGS": {"server": "127.0.0.1", "uid": 10001, "gid": 10001}}
    done = subprocess.run(
        [sys.executable, "-m", MODULE, json.dumps(given)],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "collections")},
        capture_output=True,
        text=True,
        check=False,
    )
    answer = json.loads(done.stdout)
    assert answer["failed"]
    assert "cannot be mounted from 127.0.0.1: access denied by server while mounting" in answer["msg"]
