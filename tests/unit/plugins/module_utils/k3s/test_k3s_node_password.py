"""Node passwords are compared with the hashes that k3s stores."""

from __future__ import annotations

import base64
import hashlib

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s.node_password import matches

PASSWORD = "0123456789abcdef0123456789abcdef"


def stored(password: str, exponent: int = 15) -> str:
    """The hash in the form of k3s: base64 without padding."""
    salt = bytes.fromhex("0011223344556677")
    key = hashlib.scrypt(password.encode(), salt=salt, n=1 << exponent, r=8, p=1, dklen=64, maxmem=1 << 27)
    return f"$1:{salt.hex()}:{exponent}:8:1:{base64.b64encode(key).decode().rstrip('=')}"


def test_a_password_is_told_from_another() -> None:
    assert matches(stored(PASSWORD), PASSWORD + "\n") is True
    assert matches(stored(PASSWORD, 14), PASSWORD) is True
    assert matches(stored("another"), PASSWORD) is False


@pytest.mark.parametrize(
    "hash_", ["", "$2:00:15:8:1:aa", "$1:xx:15:8:1:aa", "$1:00:a:8:1:aa", "$1:00:15:0:1:aa", "$1:00:15:8:1:"]
)
def test_what_is_not_known_is_left_to_k3s(hash_: str) -> None:
    assert matches(hash_, PASSWORD) is None
