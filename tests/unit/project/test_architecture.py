"""docs/architecture.md is true: its folders are those of the tree, and no import or role call runs against it."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "architecture.md"
COLLECTION = ("ansible_collections", "edge_ai", "cluster")
RESTRICTED = {"ansible", "kubernetes"}
"""Packages that only the folders may import whose line names them."""
SPLIT = {"plugins", "roles"}
"""Folders whose subfolders have lines of their own."""
PRODUCT = ("playbooks/", "plugins/", "roles/", "docker/", "k8s/", "notebooks/", "site.yml", "add-node.yml")
LAB = re.compile(r"\blab_\w+|EDGE_LAB|inventory/lab|-m lab\b|\bfrom lab\b|\bimport lab\b")


def table() -> dict[str, set[str]]:
    """What each folder may use, by the folder."""
    rows = re.findall(r"^\| `([^`]+)` \| .* \| ([^|]*) \|$", PAGE.read_text(), re.MULTILINE)
    return {folder: set(re.findall(r"`([^`]+)`", uses)) or {uses.strip()} for folder, uses in rows}


USES = table()
FILES = [
    name
    for name in subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\0")
    if name and (ROOT / name).is_file()
]  # fmt: skip


def folder_of(name: str) -> str | None:
    """The folder of the table that a file of the tree is in; None for a file of the root."""
    parents = [str(parent) for parent in PurePosixPath(name).parents]
    return next((parent for parent in parents if parent in USES), None)


def sources(name: str) -> list[str]:
    """Python of a file, or of a notebook's cells."""
    text = (ROOT / name).read_text(encoding="utf-8")
    if name.endswith(".ipynb"):
        cells = (cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")
        return ["".join(line for line in cell["source"] if not line.lstrip().startswith(("%", "!"))) for cell in cells]
    return [text]


def imports(name: str, source: str) -> set[tuple[str, ...]]:
    """Absolute names, in parts, that a file imports."""
    found = set()
    package = PurePosixPath(name).parent.parts
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {tuple(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = tuple(node.module.split(".")) if node.module else ()
            base = (*package[: len(package) - node.level + 1], *module) if node.level else module
            # `from package import module` and `from module import name` look alike: both are possible.
            found |= {(*base, alias.name) for alias in node.names}
    return found


def imported(parts: tuple[str, ...], name: str) -> str | None:
    """The folder of the table, or the restricted package, that an import leads to; None for all other packages."""
    if parts[0] in sys.stdlib_module_names:
        return None
    if parts[:3] == COLLECTION:
        parts = parts[3:]
    elif parts[0] in RESTRICTED:
        return parts[0]
    beside = {str(PurePosixPath(name).parent), "notebooks"}
    for place in ("", *sorted(beside)):
        for length in range(len(parts), 0, -1):
            path = PurePosixPath(place, *parts[:length])
            if any((ROOT / each).is_file() for each in (f"{path}.py", path / "__init__.py")):
                return folder_of(f"{path}.py")
    # A folder without __init__.py is a package too.
    return folder_of(f"{'/'.join(parts)}.py") if parts[0] in {use.split("/")[0] for use in USES} else None


def may_use(folder: str, target: str) -> bool:
    allowed = USES[folder]
    return (
        target == folder
        or "everything" in allowed
        or any(target == use or target.startswith(f"{use}/") for use in allowed)
    )


def against(name: str, source: str) -> list[str]:
    """Imports of a file that the table does not allow."""
    folder = folder_of(name)
    targets = {parts: imported(parts, name) for parts in imports(name, source)}
    return [
        f"{name}: {folder} may not use {target} ({'.'.join(parts)})"
        for parts, target in targets.items()
        if folder and target and not may_use(folder, target)
    ]


def called_roles(data: Any) -> set[str]:
    """Roles that tasks and plays call, by name."""
    found: set[str] = set()
    if isinstance(data, list):
        for each in data:
            found |= called_roles(each)
    elif isinstance(data, dict):
        for key, value in data.items():
            if key.rpartition(".")[2] in ("import_role", "include_role") and isinstance(value, dict):
                found.add(str(value["name"]))
            elif key in ("roles", "dependencies") and isinstance(value, list):
                found |= {str(each["role"] if isinstance(each, dict) else each) for each in value}
            found |= called_roles(value)
    return found


def test_every_folder_of_the_tree_has_a_line() -> None:
    top = {name.split("/")[0] for name in FILES if "/" in name}
    inner = {"/".join(name.split("/")[:2]) for name in FILES if name.split("/")[0] in SPLIT and name.count("/") > 1}
    assert (top - SPLIT) | inner <= set(USES), "a folder has no line in docs/architecture.md"


def test_every_line_is_a_folder_and_names_what_exists() -> None:
    assert len(USES) > 20
    for folder, uses in USES.items():
        assert (ROOT / folder).is_dir(), f"docs/architecture.md: {folder} does not exist"
        for use in uses - {"nothing", "everything"} - RESTRICTED:
            assert (ROOT / use).is_dir(), f"docs/architecture.md: {folder} may use {use}, which does not exist"


def test_no_import_runs_against_the_table() -> None:
    python = [name for name in FILES if name.endswith((".py", ".ipynb"))]
    assert len(python) > 100
    found = [error for name in python for source in sources(name) for error in against(name, source)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("name", "source", "target"),
    [
        ("lab/board.py", "from lab import cache\nimport numpy", None),
        ("lab/board.py", "import ansible.errors", "ansible"),
        ("lab/board.py", "from tests.support import paths", "tests"),
        ("lab/board.py", f"from {'.'.join(COLLECTION)}.plugins.module_utils import files", "plugins/module_utils"),
        ("plugins/modules/x.py", f"from {'.'.join(COLLECTION)}.plugins.module_utils.files import y", None),
        ("plugins/modules/x.py", "from kubernetes import client", "kubernetes"),
        ("plugins/module_utils/k3s/x.py", "from .version import Version\nfrom ..files import y", None),
        ("plugins/module_utils/k3s/x.py", "from ...action import k3s_drain", "plugins/action"),
        ("notebooks/x.py", "import shared_data\nimport edge_notebooks", None),
        ("notebooks/x.py", "from lab.cache import Cache", "lab"),
        ("docker/slim.py", "import edge_notebooks", "notebooks"),
        ("tests/unit/x.py", "import lab.cache, kubernetes, ansible", None),
    ],
)  # fmt: skip
def test_import_against_the_table_is_found(name: str, source: str, target: str | None) -> None:
    found = against(name, source)
    assert bool(found) == (target is not None)
    assert target is None or f"may not use {target} (" in found[0]


PRIVATE_ATTRIBUTES = {
    # Nothing public has them; ansible-core's own callbacks and actions read the same.
    "plugins/action/notebooks_files.py": {"_connection._shell"},
    "plugins/callback/nothing_done.py": {"playbook._file_name"},
    "plugins/callback/one_run.py": {"playbook._file_name"},
    "plugins/callback/stages.py": {"playbook._file_name"},
    "plugins/module_utils/ssh.py": {"action._play_context"},
    # How an inventory was read, which Ansible keeps to itself.
    "plugins/action/preflight_inventory.py": {
        "hostvars._inventory",
        "hostvars._variable_manager",
        "inventory._match_one_pattern",
        "inventory._subset",
    },
    "plugins/module_utils/preflight/reader.py": {
        "_inventory._inventory",
        "_inventory._sources",
        "_variables._fact_cache",
        "_variables._hostvars",
        "_variables._nonpersistent_fact_cache",
    },
}
"""Attributes of Ansible's objects that the next ansible-core may rename, by the file that reads them."""


def private_imports(name: str, source: str) -> list[str]:
    """Names of Ansible's, or modules, that begin with an underscore."""
    return [
        f"{name}: {'.'.join(parts)}"
        for parts in imports(name, source)
        if parts[0].startswith("ansible")
        and parts[:3] != COLLECTION
        and any(part.startswith("_") and not part.startswith("__") for part in parts)
    ]


def private_attributes(source: str) -> set[str]:
    """Attributes with an underscore of anything but the object itself, with the name that is before it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr):
            owner = getattr(node.value, "attr", getattr(node.value, "id", "?"))
            if owner not in ("self", "cls"):
                found.add(f"{owner}.{node.attr}")
    return found


def test_nothing_imports_private_parts_of_ansible() -> None:
    python = [name for name in FILES if name.endswith((".py", ".ipynb"))]
    found = [error for name in python for source in sources(name) for error in private_imports(name, source)]
    assert not found, "\n".join(found)
    assert private_imports("plugins/x.py", "from ansible._internal._templating import _engine")
    assert private_imports("plugins/x.py", "from ansible.plugins.callback import _x")
    assert private_imports("plugins/x.py", "import ansible.module_utils._internal")
    assert not private_imports("plugins/x.py", "from ansible.release import __version__")


def test_private_attributes_of_ansible_are_those_that_are_listed() -> None:
    plugins = [name for name in FILES if name.startswith("plugins/") and name.endswith(".py")]
    found = {name: private_attributes(source) for name in plugins for source in sources(name)}
    # Python's own, of the standard library.
    found = {name: names - {"ssl._create_unverified_context"} for name, names in found.items()}
    assert {name: names for name, names in found.items() if names} == PRIVATE_ATTRIBUTES


def test_no_role_call_runs_against_the_table() -> None:
    calls = {}
    for name in FILES:
        if name.endswith((".yml", ".yaml")) and name.startswith(("roles/", "playbooks/", "molecule/")):
            calls[name] = {role.rpartition(".")[2] for role in called_roles(yaml.safe_load((ROOT / name).read_text()))}
    assert {"k3s", "flash", "preflight"} <= set().union(*calls.values())
    found = [
        f"{name}: {folder} may not call the role {role}"
        for name, roles in calls.items()
        for role in roles
        if (folder := folder_of(name)) and not may_use(folder, f"roles/{role}")
    ]
    assert not found, "\n".join(found)


def test_product_does_not_know_the_lab() -> None:
    found = [
        f"{name}: {match.group()}"
        for name in FILES
        if name.startswith(PRODUCT) and not name.endswith(".md")
        for match in [LAB.search((ROOT / name).read_text(encoding="utf-8", errors="replace"))]
        if match
    ]
    assert not found, "\n".join(found)


def test_picture_has_the_stages_in_their_order() -> None:
    picture = PAGE.read_text().partition("```mermaid")[2].partition("```")[0]
    drawn = re.findall(r"\[(\w+): ", picture)
    assert len(drawn) > 5
    order = [role for playbook in playbooks(ROOT / "site.yml") for role in roles_in_order(playbook)]
    assert list(dict.fromkeys(order)) == drawn


def playbooks(path: Any) -> list[Any]:
    """Plays of a playbook, those that it imports in their place."""
    plays: list[Any] = []
    for play in yaml.safe_load(path.read_text()):
        other = play.get("ansible.builtin.import_playbook")
        plays += playbooks(path.parent / other) if other else [play]
    return plays


def roles_in_order(data: Any) -> list[str]:
    """Roles that a play calls, those in its tasks in their order; not those of which it only wants a part."""
    if isinstance(data, list):
        return [role for each in data for role in roles_in_order(each)]
    if not isinstance(data, dict):
        return []
    found: list[str] = []
    for key, value in data.items():
        if key.rpartition(".")[2] in ("import_role", "include_role"):
            found += [] if value.get("tasks_from") else [value["name"].rpartition(".")[2]]
        elif key == "roles":
            found += [(each["role"] if isinstance(each, dict) else each).rpartition(".")[2] for each in value]
        elif isinstance(value, list):
            found += roles_in_order(value)
    return found
