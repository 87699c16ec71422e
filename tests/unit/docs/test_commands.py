"""Commands in the documentation: preflight takes their options, for boards as those of inventory/example."""

import argparse
import re
import shlex
from pathlib import Path

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.vars.manager import VariableManager
from ansible_collections.edge_ai.cluster.plugins.callback.typed_options import typed
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight import control
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.inventory import check
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.model import COMMAND_LINE, Report
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.reader import Reader
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.specs import load_options

from tests.support.paths import ROOT

PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "roles").glob("*/README.md")]
OPTIONS = argparse.ArgumentParser()
OPTIONS.add_argument("-i", "--inventory")
OPTIONS.add_argument("-e", "--extra-vars", action="append", default=[])
OPTIONS.add_argument("-l", "--limit", default="all")
OPTIONS.add_argument("-t", "--tags")
for flag in ("-K", "--check", "--diff"):
    OPTIONS.add_argument(flag, action="store_true")
OPTIONS.add_argument("playbook")
NEEDS = control.Needs("2.19", [], [], [], 1, False, 1, "")


def commands(page: Path) -> list[str]:
    """Those of a page that are whole: without a placeholder, and not a part of a sentence."""
    text = page.read_text().replace("\\\n", " ")
    found = re.findall(r"^ *(ansible-playbook [^\n]*)|`(ansible-playbook [^`]*)`", text, re.MULTILINE)
    lines = [" ".join((block or inline).split()) for block, inline in found]
    return [line for line in lines if ".yml" in line and not re.search(r"\\<|\.\.\.", line)]


CASES = sorted({line for page in PAGES for line in commands(page)})


def test_the_first_commands_of_a_newcomer_are_among_them() -> None:
    assert any("-e flash_card=/dev/disk/by-id/" in line and "-l" not in line.split() for line in CASES)
    assert "ansible-playbook -i inventory/home site.yml" in CASES


@pytest.fixture(scope="module")
def loader() -> DataLoader:
    """One for all commands: it keeps by path what it has parsed, which is the same for all."""
    init_plugin_loader()
    found = DataLoader()
    found.set_basedir(str(ROOT))
    return found


@pytest.mark.parametrize("line", CASES)
def test_preflight_takes_the_options(loader: DataLoader, line: str) -> None:
    options = OPTIONS.parse_args(shlex.split(line, comments=True)[1:])
    assert (ROOT / options.playbook).is_file()
    manager = InventoryManager(loader, sources=[str(ROOT / "inventory/example/hosts.yml")])
    variables = VariableManager(loader, manager)
    manager.subset(options.limit)
    scope = [host.name for host in manager.get_hosts("all")]
    assert scope
    manager.subset(None)
    given = dict(each.split("=", 1) for each in options.extra_vars)
    variables._extra_vars = given | typed(given, load_options(ROOT / "roles")[0])
    read = Reader(manager, variables, loader, ROOT / "roles", ROOT).read()
    report = Report()
    control.check(read[0], scope, NEEDS, report)
    found = [*check(*read), *report.findings()]
    assert [str(each) for each in found if each.place.file == COMMAND_LINE] == []
