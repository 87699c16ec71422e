"""A clock for the boards: answers SNTP (RFC 4330) with this machine's time.

A service of Debian's would steer this machine's clock and push out the time service that it has; the lab only
needs its time.
"""

import socket
import struct
import time
from pathlib import Path

NTP_EPOCH = 2_208_988_800
"""Seconds from 1900 (NTP) to 1970 (Unix)."""

_SERVER_MODE = 4
_CLIENT_MODE = 3
_STRATUM = 3
_PACKET = struct.Struct("!BBBbII4sQQQQ")


def timestamp(seconds: float) -> int:
    """NTP's 64-bit form of a Unix time."""
    whole, fraction = divmod(seconds, 1)
    return (int(whole) + NTP_EPOCH) % 2**32 << 32 | int(fraction * 2**32)


def answer(request: bytes, received: float, sent: float) -> bytes | None:
    """The reply to a client's packet; None if it is not a client's request.

    Args:
        request: the packet.
        received, sent: Unix times of its arrival and of this reply.
    """
    if len(request) < _PACKET.size or request[0] & 7 != _CLIENT_MODE:
        return None
    version = request[0] >> 3 & 7
    asked = struct.unpack_from("!Q", request, 40)[0]
    return _PACKET.pack(
        version << 3 | _SERVER_MODE,
        _STRATUM,
        request[2],
        -20,
        0,
        1 << 6,
        b"\x7f\x7f\x01\x01",
        timestamp(received - 1),
        asked,
        timestamp(received),
        timestamp(sent),
    )


def moved_by(file: Path) -> float:
    """Seconds by which the clock is moved, as a file says; none without it."""
    return float(file.read_text()) if file.exists() else 0.0


def serve(endpoint: socket.socket, moved: Path) -> None:
    """Answer indefinitely on a bound UDP socket, with the time moved as a file says at that moment."""
    while True:
        request, client = endpoint.recvfrom(1024)
        now = time.time() + moved_by(moved)
        reply = answer(request, now, now)
        if reply:
            endpoint.sendto(reply, client)
