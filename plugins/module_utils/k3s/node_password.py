"""The hash of a node's password, which k3s keeps in the Secret <node>.node-password.k3s."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac


def matches(stored: str, password: str) -> bool | None:
    """Whether `password` is the one of the hash `stored`; None for a hash in a form that is not known here."""
    # $1:<salt>:<exponent of n>:<r>:<p>:<key>, by scrypt
    fields = stored.strip().split(":")
    if len(fields) != 6 or fields[0] != "$1":
        return None
    try:
        salt, expected = bytes.fromhex(fields[1]), base64.b64decode(fields[5] + "=" * (-len(fields[5]) % 4))
        n, r, p = 1 << min(int(fields[2]), 20), int(fields[3]), int(fields[4])
        key = hashlib.scrypt(
            password.strip().encode(), salt=salt, n=n, r=r, p=p, dklen=len(expected), maxmem=256 * n * r
        )
    except (ValueError, OverflowError, binascii.Error):
        return None
    return hmac.compare_digest(key, expected)
