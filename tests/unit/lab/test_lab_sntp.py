import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from lab import sntp


def test_the_reply_carries_both_times_and_the_request_s_own():
    request = bytes([0x23]) + bytes(39) + b"ABCDEFGH"
    reply = sntp.answer(request, received=1_800_000_000.5, sent=1_800_000_000.75)
    assert reply is not None and len(reply) == 48
    assert reply[0] == 0x24, "no leap warning, version 4, server"
    assert 0 < reply[1] < 16
    assert reply[24:32] == b"ABCDEFGH"
    received, sent = struct.unpack("!QQ", reply[32:48])
    assert received == (1_800_000_000 + sntp.NTP_EPOCH) << 32 | 1 << 31
    assert sent - received == 1 << 30


def test_what_is_not_a_client_s_request_gets_no_answer():
    assert sntp.answer(b"short", 0, 0) is None
    assert sntp.answer(bytes([0x24]) + bytes(47), 0, 0) is None


def test_time_survives_the_end_of_ntp_s_first_era():
    assert sntp.timestamp(2_085_978_496) >> 32 == 0


@pytest.mark.parametrize("moved", [None, 395 * 86400, -30.5])
def test_a_client_gets_this_machine_s_time_or_a_moved_one(tmp_path: Path, moved: float | None):
    if moved is not None:
        (tmp_path / "clock").write_text(str(moved))
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        endpoint.bind(("127.0.0.1", 0))
        threading.Thread(target=sntp.serve, args=(endpoint, tmp_path / "clock"), daemon=True).start()
        client.settimeout(5)
        client.sendto(bytes([0x1B]) + bytes(47), endpoint.getsockname())
        reply = client.recv(100)
        seconds = struct.unpack("!Q", reply[40:48])[0] / 2**32 - sntp.NTP_EPOCH
        assert abs(seconds - (moved or 0) - time.time()) < 5
