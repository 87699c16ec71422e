"""Input of kustomize, and the module that runs it."""

from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.edge_ai.cluster.plugins.filter import kustomize
from ansible_collections.edge_ai.cluster.plugins.modules import kustomize_render


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("edge-ai/tensorflow-jupyter:1", {"newName": "edge-ai/tensorflow-jupyter", "newTag": "1"}),
        ("10.77.0.1:5000/edge/tf:a-b.c", {"newName": "10.77.0.1:5000/edge/tf", "newTag": "a-b.c"}),
        ("localhost/tf@sha256:00", {"newName": "localhost/tf", "digest": "sha256:00"}),
        ("h:5000/tf:1@sha256:00", {"newName": "h:5000/tf", "digest": "sha256:00"}),
    ],
)
def test_image_references_are_parsed(reference: str, parts: dict[str, str]) -> None:
    assert kustomize.kustomize_image(reference) == parts


@pytest.mark.parametrize("reference", ["edge-ai/tf", "edge-ai/tf:latest", "10.77.0.1:5000/edge/tf", "a b:1", ""])
def test_images_without_a_fixed_tag_are_rejected(reference: str) -> None:
    with pytest.raises(AnsibleFilterError):
        kustomize.kustomize_image(reference)


def test_tree_has_what_kustomize_reads_at_the_same_paths(tmp_path: Path) -> None:
    (tmp_path / "k8s" / "base").mkdir(parents=True)
    (tmp_path / "own").mkdir()
    for name in ("k8s/base/a.yaml", "k8s/base/.hidden", "k8s/README.md", "k8s/base/config.py", "own/b.yaml"):
        (tmp_path / name).write_text(name)
    below = str(tmp_path).lstrip("/")
    assert kustomize.kustomize_tree([str(tmp_path / "k8s"), str(tmp_path / "own")]) == {
        f"{below}/{name}": name for name in ("k8s/base/a.yaml", "k8s/base/config.py", "own/b.yaml")
    }


def test_no_file_is_written_outside_the_temporary_tree(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is outside the tree"):
        kustomize_render.render({"../escaped": "x"}, ".", ["true"])


def test_error_of_kustomize_is_reported() -> None:
    # `cat` of a directory fails as kustomize does: with a message and a status.
    text, error = kustomize_render.render({"a/kustomization.yaml": "x"}, "a", ["cat"])
    assert text == ""
    assert error.startswith("cat: /a: ")
    assert kustomize_render.render({"a/b": "x"}, "a", ["ls"]) == ("b\n", "")
