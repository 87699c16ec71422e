"""Tokens of k3s."""

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s import token

FULL = f"K10{'a' * 64}::server:s3cret:with:colons"


@pytest.mark.parametrize("text", [FULL, "s3cret:with:colons\n"])
def test_both_forms_of_a_token_hold_one_password(text: str) -> None:
    assert token.password(text) == "s3cret:with:colons"


def test_the_full_form_has_its_parts_and_keeps_its_secret() -> None:
    found = token.parse(FULL + "\n")
    assert found == token.Token("a" * 64, "server", "s3cret:with:colons")
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s3cret",
        "K10abc::server:s3cret",
        f"K10{'a' * 64}::s3cret",
        # Two lines, a word too many, what moves a cursor, no end.
        f"K10{'a' * 64}::no\nde:s3cret",
        f"{FULL}\nserver: https://192.0.2.1:6443",
        f"{FULL} --debug",
        f"{FULL}\x1b[2J",
        f"{FULL}\u202e",
        FULL + "x" * 1000,
    ],
)
def test_anything_else_is_not_the_full_form(text: str) -> None:
    assert token.parse(text) is None
