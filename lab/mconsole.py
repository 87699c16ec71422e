"""The management console of User-mode Linux: datagrams to a socket beside the guest."""

import os
import socket
import struct
from pathlib import Path

_MAGIC = 0xCAFEBABE
_VERSION = 2
_DATA = 512


def ask(control: Path, request: str, seconds: float = 5) -> str:
    """Send a request (`version`, `cad`, `sysrq b`, ...) and return the guest's answer.

    Raises:
        OSError: no process listens, no answer in time, or the guest refuses.
    """
    data = request.encode()[: _DATA - 1]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.settimeout(seconds)
        # An abstract address: nothing to clean up.
        client.bind(f"\0edge-lab-mconsole-{os.getpid()}")
        client.sendto(struct.pack(f"=III{_DATA}s", _MAGIC, _VERSION, len(data), data), str(control))
        answer = b""
        while True:
            error, more, length = struct.unpack_from("=III", reply := client.recv(4096))
            answer += reply[12 : 12 + length]
            if not more:
                break
    text = answer.rstrip(b"\0").decode(errors="replace")
    if error:
        raise OSError(f"mconsole {request}: {text}")
    return text
