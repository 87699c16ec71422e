"""Invalid inventories, each with the exact text that the user gets; and valid ones, which must pass.

To add a case: a directory in corpus/ with an inventory, and the expected text in expected.txt.
extra_vars.yml, if present, stands for `-e @extra_vars.yml`.
"""

from pathlib import Path

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.vars.manager import VariableManager
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.inventory import check
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.reader import Reader

from tests.support.paths import CORPUS
from tests.support.paths import ROOT as PROJECT

CASES = sorted(path for path in CORPUS.iterdir() if path.is_dir())
OF_THE_PROJECT = sorted(path for path in (PROJECT / "inventory").glob("*") if (path / "hosts.yml").is_file())


@pytest.fixture(scope="module")
def loader() -> DataLoader:
    """One for all cases: it keeps by path what it has parsed, and all cases have the roles' defaults."""
    init_plugin_loader()
    found = DataLoader()
    found.set_basedir(str(PROJECT))
    return found


def errors(loader: DataLoader, inventory: Path, base: Path) -> str:
    # The file of extra variables is not part of the inventory beside it.
    extra = inventory / "extra_vars.yml"
    sources = [path for path in sorted(inventory.iterdir()) if path.is_file() and path.stem == "hosts"]
    manager = InventoryManager(loader, sources=[str(path) for path in sources])
    variables = VariableManager(loader, manager)
    if extra.is_file():
        variables._extra_vars = yaml.safe_load(extra.read_text())
    read = Reader(manager, variables, loader, PROJECT / "roles", base).read()
    return "".join(f"{finding}\n" for finding in check(*read))


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_inventory_gets_exactly_these_errors(loader: DataLoader, case: Path) -> None:
    expected = case / "expected.txt"
    assert errors(loader, case, case) == (expected.read_text() if expected.is_file() else "")


def test_every_invalid_case_has_expected_text() -> None:
    invalid = {path.name for path in CASES if (path / "expected.txt").is_file()}
    assert {path.name for path in CASES} - invalid == {path.name for path in CASES if path.name.startswith("good-")}
    assert all((CORPUS / name / "expected.txt").read_text().strip() for name in invalid)


@pytest.mark.parametrize("inventory", OF_THE_PROJECT, ids=lambda path: path.name)
def test_inventory_of_the_project_is_valid(loader: DataLoader, inventory: Path) -> None:
    assert errors(loader, inventory, PROJECT) == ""
