"""Who may log in, by what the Secret says: names and hashes of passwords. Nothing of JupyterHub."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import argon2

#: Of a password that no user has: whoever is unknown takes as long as a wrong password. Parameters as Jupyter's own.
UNKNOWN = "$argon2id$v=19$m=10240,t=10,p=8$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#: Longest password that is tried.
LONGEST = 1000
#: The only place where passwords are taken: the Ingress limits how many a minute.
PAGE = "/hub/login"


def hashes(users: Any) -> dict[str, str]:
    """The argon2 hash of each user, without Jupyter's prefix. Raises ValueError for what is none."""
    found = {}
    for name, stored in users.items():
        found[name] = str(stored).strip().removeprefix("argon2:")
        try:
            argon2.extract_parameters(found[name])
        except argon2.exceptions.InvalidHashError:
            raise ValueError(f"the password of user {name} is no argon2 hash: it begins with $argon2id$") from None
    return found


def right(stored: str | None, password: str) -> bool:
    """Whether the password is the one of this hash; None is the hash of an unknown user. Takes as long in any case."""
    try:
        argon2.PasswordHasher().verify(stored or UNKNOWN, password[:LONGEST])
    except argon2.exceptions.VerificationError:
        return False
    return stored is not None and len(password) <= LONGEST


def session(name: str, stored: str) -> str:
    """What a user's cookies are good for: another password, and they are good for nothing."""
    return hashlib.sha256(f"{name}:{stored}".encode()).hexdigest()


def label(name: str, stored: str) -> str:
    """Says on a pod for which login it runs. roles/manifests computes the same."""
    return f"{name}.{hashlib.sha256(stored.encode()).hexdigest()[:12]}"


def comes_from(request: Any, pods: Iterable[dict[str, Any]]) -> bool:
    """Whether one of these pods sent a request itself: by the address of the connection, which no header changes.

    One that has ended may still have the address, which another pod has got since.
    """
    running = [status for pod in pods if (status := pod.get("status") or {}).get("phase") == "Running"]
    return any(status.get("podIP") == request.connection.context.address[0] for status in running)
