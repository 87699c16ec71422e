"""This machine in its network; also on a board, with nothing but the standard library."""

from __future__ import annotations

import socket


def is_open(address: str, port: int, timeout: float) -> bool:
    """Whether a TCP connection can be opened within `timeout` seconds; nothing is sent."""
    try:
        with socket.create_connection((address, port), timeout=timeout):
            return True
    except OSError:
        return False


def source_address(target: str) -> str | None:
    """This machine's address on the route to `target`, or None without one; connecting a UDP socket sends nothing."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((target, 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])
