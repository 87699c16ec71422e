"""Jinja filters for input of kustomize."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError


def kustomize_tree(folders: list[str]) -> dict[str, str]:
    """Path without its leading slash, to text, of each file below `folders`, but for hidden files and documentation."""
    return {
        str(path).lstrip("/"): path.read_text()
        for folder in folders
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
        and path.suffix != ".md"
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def kustomize_image(reference: str) -> dict[str, str]:
    """An image reference for kustomize: newName with newTag or digest. Raises without tag, or for `latest`."""
    name, _, digest = reference.partition("@")
    # The colon of a registry's port comes before a slash.
    found = re.fullmatch(r"([^\s@]+?)(?::([\w][\w.-]{0,127}))?", name)
    if not found:
        raise AnsibleFilterError(f"{reference!r} is not an image reference: write NAME:TAG")
    if digest:
        return {"newName": found.group(1), "digest": digest}
    if found.group(2) in (None, "latest"):
        raise AnsibleFilterError(f"{reference!r} needs a tag other than latest: nodes never pull a tag again")
    return {"newName": found.group(1), "newTag": found.group(2)}


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Filters by name."""
        return {"kustomize_tree": kustomize_tree, "kustomize_image": kustomize_image}
