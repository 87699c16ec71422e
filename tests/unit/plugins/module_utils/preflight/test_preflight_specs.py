"""Which variables a run assigns: what is written in playbooks, in their files of variables, and in tasks of roles."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.specs import load_assigned
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.variables import _INSTEAD

from tests.support.paths import ROOT

SITE = """\
- import_playbook: playbooks/stages/one.yml
  vars: {of_an_import: 1}
"""
ONE = """\
- hosts: all
  vars_files: [vars/more.yml]
  vars:
    of_a_play: {not_this: 1}
  tasks:
    - block:
        - ansible.builtin.command: "true"
          register: of_a_result
      rescue:
        - ansible.builtin.set_fact:
            of_a_fact: "{{ not_this_one }}"
"""
ROLE = """\
- import_tasks: other.yml
  vars:
    of_a_role: 1
"""


def test_each_way_to_assign_a_variable_is_found(tmp_path: Path) -> None:
    for name, text in (
        ("site.yml", SITE),
        ("playbooks/stages/one.yml", ONE),
        ("playbooks/stages/vars/more.yml", "of_a_file: 1\n"),
        ("roles/some/tasks/main.yml", ROLE),
        ("requirements.yml", "collections: []\n"),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    of_playbooks, of_roles = load_assigned(tmp_path)
    assert of_playbooks == {"of_an_import", "of_a_play", "of_a_file", "of_a_result", "of_a_fact"}
    assert of_roles == {"of_a_role"}


def test_advice_is_about_variables_that_playbooks_assign() -> None:
    assert not set(_INSTEAD) - load_assigned(ROOT)[0]
