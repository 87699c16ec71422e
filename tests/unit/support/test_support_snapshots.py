"""Which finished cluster is used again."""

import pytest

from tests.support import snapshots


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshots, "ROOT", tmp_path)
    for name in (
        "roles/k3s/tasks/main.yml",
        "roles/k3s/README.md",
        "inventory/lab/hosts.yml",
        "site.yml",
        "bench/x.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("first")
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "used"),
    [
        ("roles/k3s/tasks/main.yml", False),
        ("roles/k3s/tasks/new.yml", False),
        ("inventory/lab/hosts.yml", False),
        ("site.yml", False),
        ("roles/k3s/README.md", True),
        ("roles/k3s/__pycache__/x.pyc", True),
        ("bench/x.py", True),
        ("results/timings.json", True),
    ],
)
def test_a_cluster_is_used_again_until_what_made_it_changes(tree, changed, used):
    before = snapshots.name()
    (tree / changed).parent.mkdir(exist_ok=True)
    (tree / changed).write_text("second")
    assert (snapshots.name() == before) is used


def test_every_input_is_there():
    assert all((snapshots.ROOT / each).exists() for each in snapshots.INPUTS)


def test_the_lab_of_make_site_is_never_replaced(monkeypatch):
    monkeypatch.delenv("EDGE_LAB_NAME", raising=False)
    with pytest.raises(AssertionError, match="EDGE_LAB_NAME"):
        snapshots.begin(lambda: None)
