"""Files that say the same thing in two places agree."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import yaml

from tests.support.paths import ROOT

BUILTIN = {"ansible.builtin", "edge_ai.cluster"}


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def tracked(*patterns: str) -> list[str]:
    command = ["git", "ls-files", "--", *patterns]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()


def test_pre_commit_runs_every_step_of_lint() -> None:
    steps = re.findall(r"^step (\S+) ", (ROOT / "tools/lint").read_text(), re.MULTILINE)
    hooks = {hook["id"]: hook["entry"] for repo in load(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]}
    assert len(steps) > 5
    assert hooks == {step: f"tools/lint {step}" for step in steps}


def test_lint_refuses_a_step_that_it_does_not_have() -> None:
    done = subprocess.run(["tools/lint", "rough"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "rough: no such step; the steps are ruff" in done.stderr


def test_lint_runs_the_step_that_it_is_given() -> None:
    done = subprocess.run(["tools/lint", "words"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "==> words\n", "")


def test_required_collections_are_those_in_use() -> None:
    used: set[str] = set()
    for name in tracked("roles/*/tasks/*.yml", "playbooks/*.yml", "molecule/*/*.yml", ":(glob)*.yml"):
        used |= set(re.findall(r"^ *(?:- )?([a-z_]+\.[a-z_]+)\.\w+:(?: |$)", (ROOT / name).read_text(), re.MULTILINE))
    required = {each["name"]: each["version"] for each in load("requirements.yml")["collections"]}
    assert required == load("galaxy.yml")["dependencies"]
    assert "ansible.builtin" in used
    assert set(required) == used - BUILTIN


def test_changelog_begins_with_the_version_of_the_collection() -> None:
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == load("galaxy.yml")["version"]
    assert versions == sorted(versions, key=lambda text: [int(part) for part in text.split(".")], reverse=True)


def test_license_is_the_one_that_metadata_names() -> None:
    assert (ROOT / "LICENSE").read_text().startswith("MIT License\n")
    assert load("galaxy.yml")["license"] == ["MIT"]
    for name in tracked("roles/*/meta/main.yml"):
        assert load(name)["galaxy_info"]["license"] == "MIT", name


def test_every_decision_is_listed_once() -> None:
    folder = ROOT / "docs/decisions"
    pages = sorted(path.name for path in folder.glob("*.md") if path.name != "README.md")
    listed = re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\) \| (.+) \|", (folder / "README.md").read_text())
    assert [name for name, _status in listed] == pages
    for name, status in listed:
        assert f"\nStatus: {status}" in (folder / name).read_text(), name


def test_links_of_documents_lead_to_files() -> None:
    broken = []
    for name in tracked("*.md", "docs/*.md", "roles/*/README.md"):
        text = re.sub(r"```.*?```", "", (ROOT / name).read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if not target.startswith("http") and not (ROOT / name).parent.joinpath(target).exists():
                broken.append(f"{name}: {target}")
    assert not broken


def test_each_scenario_has_a_folder_of_tests_with_its_name() -> None:
    scenarios = {path.parent.name for path in ROOT.glob("molecule/*/molecule.yml")}
    # `make arm64` runs the other one, which needs no lab.
    assert scenarios | {"arm64-image"} == {path.parent.name for path in ROOT.glob("tests/*/test_*.py")}
    assert load(".config/molecule/config.yml")["verifier"]["directory"] == "../../tests/${MOLECULE_SCENARIO_NAME}"
