"""The status of a board, queried over verified ssh from the control node, without Ansible's modules on the board."""

from __future__ import annotations

import json
import socket
import subprocess
from dataclasses import dataclass

from ..ssh import ssh_argv

# Everything in one login. Markers, because a board may have none, some or all of the files.
QUERY = """
for f in /var/lib/cloud/data/instance-id /run/cloud-init/result.json /boot/firmware/meta-data; do
  echo "==> $f"; cat "$f" 2>/dev/null; echo
done
echo "==> key"; grep -c 'PRIVATE KEY' /boot/firmware/user-data 2>/dev/null
echo "==> end"
"""


@dataclass(frozen=True)
class Login:
    """How a board is reached; `args` are further ssh arguments, such as a jump host."""

    address: str
    user: str
    key: str
    known_hosts: str
    port: int = 22
    args: tuple[str, ...] = ()


@dataclass(frozen=True)
class BoardStatus:
    """What a board reports. `reached`: its ssh port is open; `error`: why the login failed, if it did."""

    reached: bool
    error: str = ""
    instance_id: str = ""
    meta_data: str = ""
    cloud_init_done: bool = False
    cloud_init_errors: tuple[str, ...] = ()
    key_on_card: bool = False


def port_open(login: Login, timeout: float) -> bool:
    """Whether the board's ssh port is open. With a jump host or proxy only ssh itself can find out."""
    if any("Proxy" in arg or arg.startswith("-J") for arg in login.args):
        return True
    try:
        with socket.create_connection((login.address, login.port), timeout=timeout):
            return True
    except OSError:
        return False


def run(login: Login, command: str, timeout: float, connect_timeout: int = 5) -> subprocess.CompletedProcess[str]:
    """Run a command on the board; the host key must be in known_hosts, ssh never prompts.

    Raises subprocess.TimeoutExpired.
    """
    options = {
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": login.known_hosts,
        "IdentitiesOnly": "yes",
        "ConnectTimeout": str(connect_timeout),
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "3",
    }
    argv = ssh_argv(login.address, options, user=login.user, port=login.port, key=login.key, args=login.args)
    return subprocess.run(
        [*argv, command], capture_output=True, text=True, check=False, timeout=timeout, stdin=subprocess.DEVNULL
    )


def parse_status(text: str) -> BoardStatus:
    """The status from the output of `QUERY`."""
    parts: dict[str, str] = {}
    for block in text.split("==> ")[1:]:
        name, _, content = block.partition("\n")
        parts[name] = content.strip()
    result = parts.get("/run/cloud-init/result.json", "")
    errors: list[str] = []
    if result:
        try:
            errors = [str(error) for error in json.loads(result)["v1"]["errors"]]
        except (ValueError, KeyError, TypeError):
            errors = [f"/run/cloud-init/result.json is not valid: {result[:200]}"]
    return BoardStatus(
        reached=True,
        instance_id=parts.get("/var/lib/cloud/data/instance-id", ""),
        meta_data=parts.get("/boot/firmware/meta-data", ""),
        cloud_init_done=bool(result),
        cloud_init_errors=tuple(errors),
        key_on_card=parts.get("key", "0") not in ("", "0"),
    )


def query(login: Login, connect_timeout: int = 5) -> BoardStatus:
    """Log in once and read the board's status; never raises for a board that is off, slow or unexpected."""
    if not port_open(login, connect_timeout):
        return BoardStatus(reached=False, error=f"{login.address} port {login.port} is unreachable")
    try:
        result = run(login, QUERY, timeout=connect_timeout + 25, connect_timeout=connect_timeout)
    except subprocess.TimeoutExpired:
        return BoardStatus(reached=True, error="the login hangs")
    if "==> end" not in result.stdout:
        return BoardStatus(
            reached=True, error=(result.stderr or result.stdout).strip() or f"ssh ended with {result.returncode}"
        )
    return parse_status(result.stdout)


def advice(error: str, login: Login) -> str:
    """What to do about a failed login."""
    if "IDENTIFICATION HAS CHANGED" in error or "Host key verification failed" in error or "host key is known" in error:
        return (
            f"another machine has the address {login.address}, or the board has other host keys; for one flashed by "
            f"hand, verify its fingerprint and add it: ssh-keyscan -t ed25519 {login.address} >> {login.known_hosts}"
        )
    if "Permission denied" in error:
        return f"the board does not accept {login.key} for {login.user}: it was flashed with another key or user"
    return f"try it: ssh -i {login.key} -o UserKnownHostsFile={login.known_hosts} {login.user}@{login.address}"
