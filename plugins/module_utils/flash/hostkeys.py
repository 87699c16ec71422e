"""Host keys of boards: which one a board shows, and known_hosts of the cluster."""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import write_text
from ..ssh import captured, ssh_argv

if TYPE_CHECKING:
    from .ssh import Login


def known_hosts_text(old: str, keys: dict[str, str], names: dict[str, list[str]]) -> str:
    """All boards' entries, sorted, with the entries of unrelated machines kept."""
    ours = {name for host in keys for name in names.get(host, [host])}
    kept = [
        line
        for line in old.splitlines()
        if line.strip() and not line.startswith("#") and not ours & set(line.split()[0].split(","))
    ]
    lines = [f"{','.join(names.get(host, [host]))} {' '.join(key.split()[:2])}" for host, key in keys.items()]
    return "\n".join(sorted(set(kept + lines))) + "\n"


def key_of(known_hosts: str, name: str) -> str:
    """The host key that a text of known_hosts has for a name, such as "ssh-ed25519 AAAA"; empty for none or several."""
    found = {" ".join(line.split()[1:3]) for line in known_hosts.splitlines() if name in line.split(" ")[0].split(",")}
    return found.pop() if len(found) == 1 else ""


def fingerprint(key: str) -> str:
    """Fingerprint of a public key, as ssh-keygen -l shows it; empty for a text that is none."""
    try:
        blob = base64.b64decode(key.split()[1], validate=True)
    except (IndexError, binascii.Error):
        return ""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def offered_key(login: Login) -> str:
    """The ed25519 key that the board shows, such as "ssh-ed25519 AAAA"; empty if it shows none.

    ssh only writes it down where the board has proved that it owns it. Whether it is the right board is not known. Not
    by ssh-keyscan, which knows no jump host.
    """
    with tempfile.TemporaryDirectory(prefix="edge-ai-") as directory:
        shown = Path(directory, "known_hosts")
        options = {
            "StrictHostKeyChecking": "accept-new",
            "UserKnownHostsFile": str(shown),
            "GlobalKnownHostsFile": "/dev/null",
            "HashKnownHosts": "no",
            "HostKeyAlgorithms": "ssh-ed25519",
            "PreferredAuthentications": "none",
            "ControlPath": "none",
            "ConnectTimeout": "5",
        }
        argv = ssh_argv(login.address, options, user=login.user, port=login.port, args=login.args)
        try:
            captured([*argv, "true"], 15)
        except subprocess.TimeoutExpired:
            return ""
        lines = shown.read_text().splitlines() if shown.exists() else []
    return " ".join(lines[0].split()[1:3]) if lines else ""


def trust(login: Login) -> bool:
    """Put the board's host key into known_hosts if it has the fingerprint that the operator gave; whether it did.

    Raises OSError.
    """
    key = offered_key(login) if login.fingerprint else ""
    if not key or fingerprint(key) != login.fingerprint:
        return False
    path = Path(login.known_hosts)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Boards are queried at the same time, each by a process of its own.
    with os.fdopen(os.open(path.with_name(f".{path.name}.lock"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        old = path.read_text() if path.exists() else ""
        names = {login.address: [*login.names] or [login.address]}
        write_text(path, known_hosts_text(old, {login.address: key}, names), 0o600)
    return True
