"""The check before a reset, of a board that is off."""

import json
import sys
from pathlib import Path

from tests.support import ansible_playbook

PLAY = {
    "hosts": "spare",
    "gather_facts": False,
    "tasks": [{"ansible.builtin.import_role": {"name": "k3s", "tasks_from": "reset_check"}}],
}


def test_a_reset_of_boards_of_which_none_answers_is_an_error(tmp_path: Path) -> None:
    board = {
        "ansible_host": "127.0.0.1",
        "ansible_port": 1,
        "cluster_name": "home",
        "cluster_secrets_dir": "/nonexistent",
    }
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    groups = {"cluster": {}, "k3s_servers": {}, "spare": {"hosts": {"pi-05": board}}}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": {"localhost": local}, "children": groups}}))
    (tmp_path / "reset.yml").write_text(json.dumps([PLAY]))
    options = ["-i", "hosts.json", "reset.yml", "-e", "reset_confirm=home"]
    done = ansible_playbook.run(options, cwd=tmp_path)
    assert done.returncode == 2
    assert "no board of this run answers (pi-05)" in done.stdout + done.stderr
