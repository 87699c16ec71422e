"""Names in the documentation: variables, plugins, commands, files and headings that it names exist."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.specs import load_options

from tests.support.paths import ROOT

FILES = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
ALL_PAGES = [name for name in FILES if name.endswith(".md")]
# What once was is in the history of changes, and messages are generated from the code.
PAGES = [name for name in ALL_PAGES if name not in ("CHANGELOG.md", "docs/troubleshooting.md")]
OPTIONS, ROLES = load_options(ROOT / "roles")
TOP = {name.partition("/")[0] for name in FILES if "/" in name}
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
OF_A_ROLE = re.compile(rf"\b(?:{'|'.join(ROLES)})_[a-z0-9_]+\b")
CODE = " ".join(
    (ROOT / name).read_text(errors="replace")
    for name in FILES
    # Names that are not there are in this folder.
    if name.endswith((".yml", ".py", ".txt")) and (ROOT / name).is_file() and not name.startswith("tests/unit/docs/")
)


def pieces(text: str) -> list[str]:
    """Code in a page: in its sentences and in blocks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```|^((?: {4}.*\n)+)", text, re.DOTALL | re.MULTILINE)
    return [each for block in blocks for each in block if each] + re.findall(r"`([^`\n]+)`", text)


def anchors(text: str) -> set[str]:
    """Headings as links name them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def exists(path: str, page: str) -> bool:
    return any((each / path).exists() for each in (ROOT, (ROOT / page).parent, *ROOT.glob("roles/*")))


def unknown(code: str, page: str) -> list[str]:
    """What a piece of code in a page names and is not there."""
    options = re.findall(r"-e (\w+)=", code)
    modules = [name.replace(".", "/") for name in re.findall(r"\bpython3? -m ([\w.]+)", code)]
    paths = re.findall(r"(?<![\w/.~$*}-])[\w.-]+(?:/[\w.-]+)+(?![*{<.\w-])", code)
    return [
        *(name for name in OF_A_ROLE.findall(code) if name not in CODE),
        *(name for name in options if OF_A_ROLE.fullmatch(name) and name not in OPTIONS),
        *(f"make {name}" for name in re.findall(r"(?:^|; )make ([\w-]+)", code) if name not in TARGETS),
        *(
            f"-m {name}"
            for name in modules
            if name.split("/")[0] in TOP and not (exists(f"{name}.py", page) or exists(f"{name}/__main__.py", page))
        ),
        *(
            name
            for name in paths
            if name.split("/")[0] in TOP and "home" not in name.split("/") and not exists(name.rstrip("."), page)
        ),
    ]


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page: str) -> None:
    text = (ROOT / page).read_text()
    assert [name for code in pieces(text) for name in unknown(code, page)] == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("k3s_versoin: v1", ["k3s_versoin"]),
        ("ansible-playbook site.yml -e k3s_node=1", ["k3s_node"]),
        ("make venv; make cofee", ["make cofee"]),
        ("python -m lab up; python -m lab.nothing", ["-m lab/nothing"]),
        ("pytest tests/default/test_nothing.py tests/default", ["tests/default/test_nothing.py"]),
        ("secrets/home/id_ed25519 inventory/home results/latest docs/lab.md lab.md", []),
    ],
)
def test_a_name_that_is_not_there_is_found(code: str, found: list[str]) -> None:
    assert unknown(code, "docs/lab.md") == found


def test_numbers_in_tables_are_the_defaults() -> None:
    files = [path.read_text() for path in ROOT.glob("roles/*/defaults/main.yml")]
    defaults = {name: value for text in files for name, value in yaml.safe_load(text).items()}
    rows = re.compile(r"^\| `(\w+)` \|.*\((\d+)\)", re.MULTILINE)
    found = [(page, *row) for page in PAGES for row in rows.findall((ROOT / page).read_text()) if row[0] in defaults]
    assert len(found) > 2
    assert [each for each in found if str(defaults[each[1]]) != each[2]] == []


def test_links_lead_to_headings() -> None:
    broken = []
    for page in ALL_PAGES:
        for path, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", (ROOT / page).read_text()):
            target = (ROOT / page).parent / path if path else ROOT / page
            if anchor not in anchors(target.read_text()):
                broken.append(f"{page}: {path}#{anchor}")
    assert not broken
    assert "what-is-isolated-and-what-is-not" in anchors((ROOT / "docs/jupyter.md").read_text())
