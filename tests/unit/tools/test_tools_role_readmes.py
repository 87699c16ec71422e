from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tools.role_readmes import BEGIN, END, main, renewed, roles

SPECS = """\
argument_specs:
  main:
    options: &options
      role_word:
        description: One of the C(words) | more.
        type: str
        choices: [a, b]
      role_long: {description: Long <url> and `<url>`., type: list, elements: str}
      role_other: {description: Other., type: str}
      role_needed: {description: [Must be., Always.], type: path, required: true}
      role_items:
        type: list
        elements: dict
        description: Items.
        options:
          key: {type: str, required: true, description: Key.}
          value: {type: str, description: Value.}
  again:
    options: *options
"""
DEFAULTS = f"""\
role_word: ""
role_long: [{", ".join(["abcdefghij"] * 8)}]
role_items: []
role_other: "{{{{ lookup('edge_ai.cluster.role_variable', 'other_word', host=role_word) }}}}"
"""
TABLE = """\
| variable | type | default | |
|---|---|---|---|
| `role_word` | str | empty | One of the `words` \\| more. One of `a`, `b`. |
| `role_long` | list of str | [see there](defaults/main.yml) | Long \\<url> and `<url>`. |
| `role_other` | str | `other_word` | Other. |
| `role_needed` | path | required | Must be. Always. |
| `role_items` | list of dict | `[]` | Items. Keys: `key`, `value` (optional). |"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    role = tmp_path / "roles" / "role"
    (role / "meta").mkdir(parents=True)
    (role / "defaults").mkdir()
    (role / "meta" / "argument_specs.yml").write_text(SPECS)
    (role / "defaults" / "main.yml").write_text(DEFAULTS)
    (role / "README.md").write_text(f"# role\n\n{BEGIN}\n{END}\n\nLast.\n")
    return tmp_path


def test_table_is_written_once_and_the_rest_is_kept(project: Path) -> None:
    readme = project / "roles" / "role" / "README.md"
    assert main(["--check"], project) == 1
    assert main([], project) == 0
    assert readme.read_text() == f"# role\n\n{BEGIN}\n\n{TABLE}\n\n{END}\n\nLast.\n"
    assert main(["--check"], project) == 0


def test_entry_points_with_other_variables_have_tables_of_their_own(project: Path) -> None:
    path = project / "roles" / "role" / "meta" / "argument_specs.yml"
    path.write_text(path.read_text() + "  other:\n    options:\n      role_word: {description: Word.}\n  bare: {}\n")
    main([], project)
    lines = (project / "roles" / "role" / "README.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("Entry point")] == [
        "Entry points `main`, `again`:",
        "Entry point `other`:",
    ]


@pytest.mark.parametrize("readme", ["", BEGIN, END + BEGIN, BEGIN + END + BEGIN + END])
def test_readme_without_one_place_for_the_table_is_refused(readme: str) -> None:
    with pytest.raises(ValueError, match="variables"):
        renewed(readme, TABLE)


def test_readmes_of_this_project_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(roles(ROOT)) == len(list((ROOT / "roles").iterdir()))
    assert main(["--check"]) == 0, capsys.readouterr().err
