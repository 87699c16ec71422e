"""The notebooks in git: parameters, no outputs, code that parses, and text between the cells."""

from __future__ import annotations

import ast
from typing import Any

import nbformat
import pytest

from tests.support.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.name)
def book(request: pytest.FixtureRequest) -> Any:
    return nbformat.read(request.param, as_version=4)


def plain(source: str) -> str:
    """A cell's Python without IPython's magics."""
    return "\n".join("pass" if line.startswith("%") else line for line in source.splitlines())


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["prediction", "report", "training"]


def test_notebook_in_git_has_no_outputs(book: Any) -> None:
    nbformat.validate(book)
    for cell in book.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


def test_parameters_are_in_one_tagged_cell_with_a_comment_each(book: Any) -> None:
    tagged = [cell for cell in book.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    lines = tagged[0].source.splitlines()
    names = [node.targets[0].id for node in ast.parse(tagged[0].source).body]
    assert all(" # " in line for line in lines) and len(lines) == len(names)
    assert {"books", "notebooks", "dataset", "run"} <= set(names)


def test_every_name_is_defined_before_it_is_used(book: Any) -> None:
    known = set(dir(__builtins__)) | set(__builtins__ if isinstance(__builtins__, dict) else ()) | {"display"}
    for cell in book.cells:
        if cell.cell_type != "code":
            continue
        tree = ast.parse(plain(cell.source))
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                known.add(node.id)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                known |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
            elif isinstance(node, ast.FunctionDef):
                known |= {node.name, *(argument.arg for argument in node.args.args)}
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        assert used <= known, (cell.id, used - known)


def test_prediction_never_fits(book: Any) -> None:
    code = "\n".join(cell.source for cell in book.cells if cell.cell_type == "code")
    if "load_weights" in code:
        assert ".fit(" not in code and '"train"' not in code
