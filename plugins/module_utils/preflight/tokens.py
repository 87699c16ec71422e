"""Files of k3s's tokens on the control node: one that was written by hand has the form that the roles expect."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from ..k3s.token import parse
from .model import Inventory, Place, Report

_BOOTSTRAP = re.compile(r"(K10[0-9a-f]{64}::)?[a-z0-9]{6}\.[a-z0-9]{16}")


def secret_problem(text: str) -> tuple[str, str] | None:
    """What is wrong with a token that a cluster is made with: (problem, remedy); None for nothing."""
    if not text:
        return "empty", "delete the file: the first run generates a token"
    if _BOOTSTRAP.fullmatch(text):
        return "a bootstrap token, which expires", "write a long random text, such as `openssl rand -hex 32` prints"
    if text.startswith("K10"):
        return (
            "the full form of a token, which belongs to one cluster",
            "write its last part alone, after the last colon",
        )
    if not re.fullmatch(r"[!-~]+", text):
        problem = "more than one word" if re.search(r"\s", text) else "has characters that are not ASCII"
        return problem, "write one line of letters and digits, such as `openssl rand -hex 32` prints"
    return None


def node_token_problem(text: str) -> tuple[str, str] | None:
    """The same for the token that nodes join with, which is fetched from the server."""
    if parse(text) is None:
        return "not the full form of a token (K10<digest>::<user>:<password>)", "delete it: site.yml fetches it again"
    return None


#: What checks the file of each variable with the path of a token.
FILES: dict[str, Callable[[str], tuple[str, str] | None]] = {
    "k3s_token_file": secret_problem,
    "k3s_agent_token_file": secret_problem,
    "k3s_node_token_file": node_token_problem,
}


def paths(inventory: Inventory) -> dict[Path, str]:
    """The files of tokens that there are, and the variable of each."""
    found: dict[Path, str] = {}
    for host in inventory.boards():
        secrets = str(host.get("cluster_secrets_dir", "/nonexistent"))
        for name in FILES:
            default = str(inventory.defaults.get(name, "")).replace("{{ cluster_secrets_dir }}", secrets)
            path = Path(str(host.get(name) or default))
            if path.is_file():
                found.setdefault(path, name)
    return found


def check_files(inventory: Inventory, base: Path, report: Report) -> None:
    """Report tokens that k3s or the roles could not use; a file that does not exist yet is made by them."""
    for path, name in paths(inventory).items():
        try:
            found = FILES[name](path.read_text(encoding="utf-8").strip())
        except (OSError, UnicodeDecodeError) as error:
            found = f"cannot be read: {getattr(error, 'strerror', None) or error}", "write it again, as one line"
        if found:
            shown = str(path.relative_to(base)) if path.is_relative_to(base) else str(path)
            report.add(Place(shown), name, None, *found)
