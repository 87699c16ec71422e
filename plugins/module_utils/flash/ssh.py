"""The status of a board, queried over verified ssh from the control node, without Ansible's modules on the board."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..command import run as run_here
from ..network import is_open
from ..shared_data import printable
from ..ssh import captured, ssh_argv
from .hostkeys import fingerprint, offered_key, trust

# Everything in one login. Markers, because a board may have none, some or all of the files.
QUERY = """
for f in /var/lib/cloud/data/instance-id /run/cloud-init/result.json /boot/firmware/meta-data; do
  echo "==> $f"; cat "$f" 2>/dev/null; echo
done
echo "==> keys"; find /boot/firmware -maxdepth 1 -type f -size -64k -exec grep -l 'PRIVATE KEY' {} + 2>/dev/null
echo "==> end"
"""

# From an open port to the login. A board that is busy booting takes seconds, and since OpenSSH 9.8 its sshd counts
# clients that give up: after some of them it accepts none from that address for a while.
HANDSHAKE_SECONDS = 30

# What ssh says of a host key that is not, or not so, in known_hosts.
HOST_KEY_ERRORS = ("IDENTIFICATION HAS CHANGED", "Host key verification failed", "host key is known")


#: What is kept of a text that a board says, and how many of a list: they are in messages, and may be anybody's.
LONGEST, MOST = 2000, 20


def said(text: object) -> str:
    """What a board says as one line, which begins no other one of a message."""
    return printable(" ".join(str(text).split()), LONGEST)


@dataclass(frozen=True)
class Login:
    """How a board is reached: as Ansible reaches it, but only with a host key that is in `known_hosts`.

    Without `key` it is ssh's choice: the agent's keys, or those in ~/.ssh. `args` are further ssh arguments, such as a
    jump host. `names` are the board's in known_hosts, `fingerprint` is that of the host key the operator expects.
    """

    address: str
    user: str
    key: str
    known_hosts: str
    port: int = 22
    args: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    fingerprint: str = ""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Login:
        """The login that a module's argument describes; its args are one text, as Ansible has them."""
        given = {**data, "port": int(data["port"]), "args": tuple(shlex.split(data.get("args") or ""))}
        return cls(**given | {"names": tuple(data.get("names") or ())})


@dataclass(frozen=True)
class BoardStatus:
    """What a board reports. `reached`: its ssh port is open; `error`: why the login failed, if it did.

    `keys_on_card`: paths of private keys on its boot partition.
    """

    reached: bool
    error: str = ""
    instance_id: str = ""
    meta_data: str = ""
    cloud_init_done: bool = False
    cloud_init_errors: tuple[str, ...] = ()
    keys_on_card: str = ""


def effective(address: str, args: Iterable[str]) -> tuple[dict[str, str], str]:
    """Settings of ssh for a login, by its arguments and ~/.ssh/config; and why ssh refuses them (empty if not)."""
    done = run_here("ssh", "-G", *args, address)
    values = dict(line.partition(" ")[::2] for line in done.output.splitlines())
    return values, " ".join(done.errors.split()) or f"ssh ended with {done.status}" if done.status else ""


def jump_host(address: str, args: Iterable[str]) -> str:
    """The host or command that ssh reaches an address through, by its arguments or ~/.ssh/config; empty for none."""
    values, _ = effective(address, args)
    found = (values.get(name, "none") for name in ("proxyjump", "proxycommand"))
    return next((value for value in found if value != "none"), "")


def port_open(login: Login, timeout: float) -> bool:
    """Whether the board's ssh port is open. With a jump host or proxy only ssh itself can find out."""
    return bool(jump_host(login.address, login.args)) or is_open(login.address, login.port, timeout)


def run(login: Login, command: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a command on the board; the host key must be in known_hosts, ssh never prompts.

    Raises subprocess.TimeoutExpired.
    """
    options = {
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": login.known_hosts,
        # The agent may hold more keys than a server lets one try.
        **({"IdentitiesOnly": "yes"} if login.key else {}),
        "ConnectTimeout": str(HANDSHAKE_SECONDS),
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "3",
    }
    argv = ssh_argv(login.address, options, user=login.user, port=login.port, key=login.key, args=login.args)
    return captured([*argv, command], timeout)


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
            errors = [said(error) for error in list(json.loads(result)["v1"]["errors"])[:MOST]]
        except (ValueError, KeyError, TypeError, RecursionError):
            errors = [f"/run/cloud-init/result.json is not valid: {said(result[:200])}"]
    return BoardStatus(
        reached=True,
        instance_id=said(parts.get("/var/lib/cloud/data/instance-id", "")),
        meta_data=parts.get("/boot/firmware/meta-data", ""),
        cloud_init_done=bool(result),
        cloud_init_errors=tuple(errors),
        keys_on_card=said(parts.get("keys", "")),
    )


def query(login: Login, connect_timeout: int = 5) -> BoardStatus:
    """Log in once and read the board's status; never raises for a board that is off, slow or unexpected.

    A host key that the operator gave the fingerprint of is put into known_hosts first. Raises OSError where that cannot
    be written.
    """
    if not port_open(login, connect_timeout):
        return BoardStatus(reached=False, error=f"{login.address} port {login.port} is unreachable")
    status = _query(login)
    if rejects_host_key(status.error) and trust(login):
        status = _query(login)
    return status


def _query(login: Login) -> BoardStatus:
    try:
        result = run(login, QUERY, timeout=HANDSHAKE_SECONDS + 25)
    except subprocess.TimeoutExpired:
        return BoardStatus(reached=True, error="the login hangs")
    if "==> end" not in result.stdout:
        error = said(result.stderr or result.stdout) or f"ssh ended with {result.returncode}"
        return BoardStatus(reached=True, error=error)
    return parse_status(result.stdout)


def rejects_host_key(error: str) -> bool:
    """Whether ssh ended because of the board's host key."""
    return any(text in error for text in HOST_KEY_ERRORS)


def advice(error: str, login: Login) -> str:
    """What to do about a failed login. Asks the board for its host key, if that is the problem."""
    if rejects_host_key(error):
        return _host_key_advice(login)
    if "Permission denied" in error:
        return _key_advice(login)
    return f"try it: {command(login)}"


def command(login: Login) -> str:
    """The command line of a login, to try by hand."""
    options = [*(["-i", login.key] if login.key else []), *(["-p", str(login.port)] if login.port != 22 else [])]
    return shlex.join(
        ["ssh", *options, "-o", f"UserKnownHostsFile={login.known_hosts}", f"{login.user}@{login.address}"]
    )


def _host_key_advice(login: Login) -> str:
    shown = fingerprint(offered_key(login))
    problem = f"{login.address} shows a host key that is not in {login.known_hosts}"
    if not shown:
        return f"{problem}, and no ed25519 key: another machine has this address, or run ssh-keygen -A on the board"
    if login.fingerprint and login.fingerprint != shown:
        return (
            f"{problem}, with the fingerprint {shown} instead of flash_host_key_fingerprint, {login.fingerprint}: "
            f"another machine has this address, or correct that variable"
        )
    return (
        f"{problem}, with the fingerprint {shown}: another machine has this address, or the board was flashed by hand. "
        f"Compare the fingerprint with the board's own (on its screen: ssh-keygen -lf "
        f"/etc/ssh/ssh_host_ed25519_key.pub); only if they are equal, run this with "
        f"-e flash_host_key_fingerprint={shown}"
    )


def key_problem(key: str) -> tuple[str, str] | None:
    """What is wrong with a key file that ssh must use without asking, and what to do; None if nothing is."""
    path = Path(key).expanduser()
    if not path.is_file():
        return "there is no such file", "write the path of the key that the board accepts"
    if path.suffix != ".pub":
        opened = run_here("ssh-keygen", "-y", "-P", "", "-f", str(path))
        if opened.status == 0:
            return None
        if "incorrect passphrase" not in opened.errors:
            return f"not a usable key ({opened.errors.strip().splitlines()[-1]})", "write the path of a private key"
    # Of a key with a passphrase the public half is readable.
    shown = run_here("ssh-keygen", "-lf", str(path)).output.split()
    if len(shown) > 1 and shown[1] in run_here("ssh-add", "-l").output:
        return None
    what = "a public key, and" if path.suffix == ".pub" else "it has a passphrase, and"
    private = key.removesuffix(".pub")
    return f"{what} ssh-agent does not hold it", f"start one and add the key: eval $(ssh-agent); ssh-add {private}"


def _key_advice(login: Login) -> str:
    if not login.key:
        return (
            f"{login.address} accepts no key of ssh-agent or ~/.ssh for the user {login.user}: write the right one as "
            f"ansible_ssh_private_key_file of this board, or the right user as ansible_user"
        )
    if problem := key_problem(login.key):
        return f"{login.key}: {'; '.join(problem)}"
    return (
        f"the board does not accept {login.key} for the user {login.user}, it was flashed with another key or user: "
        f"write those as ansible_ssh_private_key_file and ansible_user of this board, or have it accept this key "
        f"(ssh-copy-id -i {login.key} {login.user}@{login.address})"
    )
