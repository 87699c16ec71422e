"""The gateway's services: mirror (HTTP), DNS (dnsmasq) and time (SNTP), in one process.

`python -m lab _gateway` is this program.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType

from lab import mirror, process, sntp
from lab.errors import LabError
from lab.settings import Settings


def pid_file(settings: Settings) -> Path:
    """Pid file of the gateway's process."""
    return settings.run / "gateway.pid"


def dns_command(settings: Settings) -> list[str]:
    """A forwarder to what this machine resolves names with, which may be a loopback address."""
    return [
        *("setpriv", "--pdeathsig", "KILL"),
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file=",
        "--no-hosts",
        "--bind-interfaces",
        "--except-interface=lo",
        f"--listen-address={settings.gateway}",
        "--cache-size=1000",
        # From when it has its port.
        "--user=nobody",
        "--log-facility=-",
    ]


def _clock(settings: Settings) -> socket.socket | None:
    endpoint = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        endpoint.bind((settings.gateway, 123))
    except OSError:
        print("port 123 is taken: the boards get their time from this machine's own NTP server", flush=True)
        return None
    return endpoint


def _stop(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def main(settings: Settings) -> int:
    """Serve until SIGTERM; ends with an error when the DNS forwarder ends."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        http = mirror.server(settings)
    except OSError as error:
        raise LabError(f"{settings.mirror_url}: {error.strerror}") from error
    clock = _clock(settings)
    dns = subprocess.Popen(dns_command(settings), stdin=subprocess.DEVNULL)
    try:
        status = dns.wait(timeout=0.3)
        raise LabError(f"dnsmasq ended at once with exit status {status}")
    except subprocess.TimeoutExpired:
        pass
    threading.Thread(target=http.serve_forever, daemon=True).start()
    if clock:
        threading.Thread(target=sntp.serve, args=(clock, settings.clock), daemon=True).start()
    process.write_identity(pid_file(settings), process.identify(os.getpid()))
    try:
        return dns.wait()
    finally:
        dns.kill()
