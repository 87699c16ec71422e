from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.support.paths import CORPUS, ROOT
from tools.troubleshooting import (
    BEGIN,
    END,
    PAGE,
    Message,
    Python,
    collect,
    main,
    markdown,
    stage_of,
    template_texts,
    yaml_messages,
)


def python(source: str) -> list[tuple[str, str]]:
    return [(each.text, each.remedy) for each in Python(ast.parse(source), "plugins/modules/flash_x.py").messages()]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('module.fail_json(msg=f"{path}: {error.strerror}")', [("<path>: <strerror>", "")]),
        ('raise FetchError(f"{parent} is full" ": free some space")', [("<parent> is full: free some space", "")]),
        ('raise AssertionError("not reached")', []),
        ('errors.append(f"{path} is {what}")\nlines.append("a b")', [("<path> is <what>", "")]),
        ('report.add(place, "mode", "0644", "too wide", f"run {x}")', [("mode: too wide", "run <x>")]),
        ('report.setting(host, setting, "not a size", "write 1G")', [("not a size", "write 1G")]),
        ('report.missing(host, "ansible_host", "write it")', [("ansible_host: missing", "write it")]),
        ('A = {"a": ("no such key", "delete it"), "b": ("x", "y")}', [("no such key", "delete it")]),
        ('return {"failed": True, "msg": f"{n} errors"}\n', [("<n> errors", "")]),
        ('return {"failed": False, "msg": "no error"}\n', []),
        ("raise E(f\"{count} error{'' if count == 1 else 's'}\")", [("<count> error(s)", "")]),
        ('raise E("a b" if x else "c d")', [("a b", ""), ("c d", "")]),
        ('B = "write the path"\ndef f():\n  report.setting(h, s, "not it", B)', [("not it", "write the path")]),
        (
            "def f(x):\n  if x:\n    why = 'a b'\n    raise E(why)\n  else:\n    why = 'c d'\n    raise E(why)",
            [("a b", ""), ("c d", "")],
        ),
        ("def f(x):\n  why = 'a b'\n  if x:\n    why = 'c d'\n  raise E(why)", [("a b", ""), ("c d", "")]),
        ("def key_problem(k):\n  return f'{k} is no key'", [("<k> is no key", "")]),
        ("def f():\n  return g()\ndef g():\n  return 'text'", []),
        ('remedy, other = "a b", "c d"', []),
    ],
)
def test_messages_of_python(source: str, found: list[tuple[str, str]]) -> None:
    if source.startswith("return"):
        source = f"def run():\n  {source}"
    assert python(source) == found


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("{{ inventory_hostname }} has {{ __k3s_node.version }}", ["<host> has <version>"]),
        ("{{ names | join(', ') or 'none' }}", ["<names>", "none"]),
        ("k3s is {{ 'off' if x else 'on' }}.", ["k3s is (off / on)."]),
        ("{{ a ~ ' is ' ~ b[0] }}", ["<a> is <b>"]),
        (
            "{{ n }} reason{{ '' if n == 1 else 's' }}:\n{% for e in es %}  {{ e }}\n{% endfor %}",
            ["<n> reason(s): <e>"],
        ),
    ],
)
def test_messages_of_templates(template: str, found: list[str]) -> None:
    assert template_texts(template) == found


def test_messages_of_tasks_and_variables() -> None:
    data = yaml.safe_load("""
- name: Stop
  block:
    - ansible.builtin.assert: {that: x, fail_msg: "{{ a }} is wrong"}
    - ansible.builtin.fail: {msg: It failed}
      vars:
        _k3s_error: "{{ 'it is bad' if x else 'it is worse' }}"
  rescue:
    - ansible.builtin.debug: {msg: Only shown}
- _x_problems: "{%- set _ = found.append('it has ' ~ n ~ ' MiB') -%}{{ found }}"
""")
    assert sorted(each.text for each in yaml_messages(data, "roles/k3s/tasks/main.yml")) == [
        "<a> is wrong", "It failed", "it has <n> MiB", "it is bad", "it is worse",
    ]  # fmt: skip


def test_every_finding_of_the_corpus_is_on_the_page() -> None:
    """What invalid inventories really get: a message of the page, and one of its remedies."""
    messages = [parts(f"{each.text}; {each.remedy}") for each in of_the_project() if each.remedy]
    lines = {line for path in CORPUS.glob("*/expected.txt") for line in path.read_text().splitlines()}
    missing = [line for line in sorted(lines) if not any(follow(line, message) for message in messages)]
    assert missing == []


@cache
def of_the_project() -> list[Message]:
    return collect(ROOT)


def parts(text: str) -> list[str]:
    """What a message has for certain: anything may stand for <name>, (a / b) or (s); and a value may follow the key."""
    text = re.sub(r"<[^>]*>", "\0", text.replace(": ", "<value>: ", 1))
    while (shorter := re.sub(r"\((?:[^()]* / [^()]*|s|\0)\)", "\0", text)) != text:
        text = shorter
    return text.split("\0")


def follow(line: str, message: list[str]) -> bool:
    """Whether the parts stand in the line, one after another."""
    end = 0
    for part in message:
        begin = line.find(part, end)
        if begin < 0:
            return False
        end = begin + len(part)
    return True


def test_each_stage_has_messages_and_each_file_a_stage() -> None:
    stages = {stage_of(each.file) for each in of_the_project()}
    assert len(stages) == 11
    assert stage_of("plugins/modules/k3s_node.py") == stage_of("roles/node_labels/tasks/main.yml") == "k3s"
    assert stage_of("playbooks/stop.yml") == "Any playbook"


def test_page_is_compared_and_renewed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "docs").mkdir()
    page = tmp_path / PAGE
    page.write_text(f"# Title\n\n{BEGIN}\n{END}\nEnd.\n")
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/flash.py").write_text(
        'raise E(f"{path} has odd_name | *c* {d}")\nreport.add(1, "mode", 2, "too wide", "do it")\n'
    )
    assert main(["--check"], tmp_path) == 1
    assert "out of date; run: python -m tools.troubleshooting" in capsys.readouterr().err
    assert main([], tmp_path) == 0
    text = page.read_text()
    assert (
        "| mode: too wide | do it |" in text
        and "- \\<path> has odd_name \\| \\*c\\* \\<d>" in text
        and text.endswith("End.\n")
    )
    assert main(["--check"], tmp_path) == 0
    assert markdown([]) == ""
