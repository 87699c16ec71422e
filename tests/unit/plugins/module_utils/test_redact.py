"""What is redacted from a report, and what stays."""

import time
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.redact import LONGEST, redact

PEM = (
    "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIBq/x+Yz/abc+def/ghi+JKL/mno+pqr/stu+vwxoAoGCCqGSM49\nAwE/a+b==\n"
    "-----END EC PRIVATE KEY-----"
)
JWT = "eyJhbGciOiJSUzI1NiIs-ImtpZCI6_IkFCQyJ9.eyJzdWIiOiJz-eXN0ZW06c_2VydmljZWFj.c2ln-bmF0_dXJl-abc"
KNOWN = ["ada", "ada-laptop", "192.168.1.11", "10000000deadbeef", "pi", "router"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("does not answer at 192.168.1.11: check power", "does not answer at <name>: check power"),
        ("server 10.0.0.1 port 123", "server <address> port 123"),
        ("at 10.0.0.1.", "at <address>."),
        ("fe80::1%eth0 and 2001:db8::5", "<address> and <address>"),
        ("dc:a6:32:01:02:03", "<address>"),
        ("ssh ada@pi-01", "ssh <name>@pi-01"),
        ("mail to someone.else@example.org", "mail to <address>"),
        ("/home/someone/edge/secrets", "<home>/edge/secrets"),
        ("https://nas.example.org:8443/x", "https://<host>/x"),
        ("time server ntp.fritz.box", "time server <host>"),
        ("token K10abc::server:def", "token <key>"),
        ("SHA256:mZ4xabc/def+", "<key>"),
        ("ssh-ed25519 AAAAC3Nza me", "<key> me"),
        ("id 2f6b1f0a-0000-4000-8000-0123456789ab", "id <id>"),
        ("serial 10000000deadbeef, 100000001a2b3c4d", "serial <name>, <id>"),
        ("password hXq2Lr9sV0bT4cN8mK1pZ6wY", "password <key>"),
        ("e45f.01ab.cdef", "<address>"),
        ("on Ada-Laptop, at NAS.Fritz.BOX", "on <name>, at <host>"),
        (f"x {PEM} y", "x <key> y"),
        # The beginning of one, as where a line was cut.
        (PEM[:60], "<key>"),
        (f"Bearer {JWT}, retry", "Bearer <key>, retry"),
        ("hash $argon2id$v=19$m=10240,t=10,p=8$AAA/A+A$abc/def+ghi", "hash <key>"),
        ("\x1b[31mred\x1b[0m", "red"),
        # Direction, width and language: not seen, so that the text looks as it would without them.
        ("\u202egnp.exe\u202c \u2066a\u2069 \u200eb\u200f", "gnp.exe a b"),
        ("server 10.0.\u200b0.\u202d1 and ada-lap\u200etop, ada\x1b[0m-laptop", "server <address> and <name>, <name>"),
    ],
)
def test_what_tells_who_and_where_is_redacted(text: str, expected: str) -> None:
    assert redact(text, KNOWN) == expected


@pytest.mark.parametrize(
    "text",
    [
        "pi-01: unit k3s.service has failed: systemctl status k3s.service",
        "Raspberry Pi 4 Model B Rev 1.5",
        "6.18.34+rpt-rpi-v8, v1.36.4+k3s1",
        "12:30:45 on 2026-11-26",
        "tests/default/test_boards.py::test_no_swap_is_on[pi-01]",
        "run site.yml, see docs/hardware.md and /boot/firmware/cmdline.txt",
        "CONFIG_CGROUP_HUGETLB: missing",
        "67.1 MB/s; 0.5 s",
        "127.0.1.1 in /etc/hosts",
        "AssertionError: json.JSONDecodeError: Expecting value: line 1",
        "-----BEGIN of the test-----",
    ],
)
def test_what_is_of_use_stays(text: str) -> None:
    assert redact(text, KNOWN) == text


def test_structures_keep_their_shape() -> None:
    value: Any = {"pi-01": [{"value": "at 10.0.0.1", "good": True, "seconds": 1.5}], "none": None}
    assert redact(value) == {"pi-01": [{"value": "at <address>", "good": True, "seconds": 1.5}], "none": None}


def test_no_text_takes_long_and_a_word_at_the_end_is_not_cut() -> None:
    begun = time.process_time()
    for part in ("a.", "a-", "1.", "a b "):
        assert len(redact(part * 500_000)) < LONGEST + 100
    assert time.process_time() - begun < 10
    assert "AGE" not in redact("x " * (LONGEST // 2 - 10) + "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQ")
