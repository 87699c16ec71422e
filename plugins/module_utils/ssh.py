"""How ssh is started from the control node."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

#: For gigabytes that are compressed already; a board that is busy starting Kubernetes may be silent for two minutes.
STREAM = {"Compression": "no", "ConnectTimeout": "20", "ServerAliveInterval": "15", "ServerAliveCountMax": "8"}


def ssh_argv(
    host: str,
    options: Mapping[str, str],
    *,
    user: str = "",
    port: int | str = "",
    key: str = "",
    args: Iterable[str] = (),
) -> list[str]:
    """Argv that a command for `host` is appended to: no terminal, no questions, errors only.

    `options` are ssh's own, as for -o; `args` are further arguments, such as a jump host. What is empty is left to
    ssh's configuration.
    """
    argv = ["ssh", "-T"]
    for name, value in {"BatchMode": "yes", "LogLevel": "ERROR", **options}.items():
        argv += ["-o", f"{name}={value}"]
    if key:
        argv += ["-i", str(Path(key).expanduser())]
    if port:
        argv += ["-p", str(port)]
    if user:
        argv += ["-l", user]
    return [*argv, *args, host]


def stream_argv(ssh: Mapping[str, Any]) -> list[str]:
    """Argv that a command is appended to, for streams; `ssh` has host, and may have user, port, key and args (text)."""
    return ssh_argv(
        ssh["host"],
        STREAM,
        user=ssh.get("user") or "",
        port=ssh.get("port") or "",
        key=ssh.get("key") or "",
        args=shlex.split(ssh.get("args") or ""),
    )
