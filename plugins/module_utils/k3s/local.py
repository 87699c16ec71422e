"""This machine's own k3s: what its API and kube-proxy answer, and its commands. Standard library only, for boards."""

from __future__ import annotations

import http.client
import re
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

#: What k3s is started as by links to it.
COMMANDS = ("kubectl", "crictl", "ctr")
#: Bytes of an answer: etcd takes no Node of more than 1.5 MiB, and kube-proxy's metrics have less than 1 MiB.
LONGEST = 4 << 20
_KUBECONFIG = ("server", "certificate-authority", "client-certificate", "client-key")


def opener(ca: str = "", certificate: str = "", key: str = "") -> urllib.request.OpenerDirector:
    """Requests without a proxy, over TLS to servers of the CA in a file. Raises OSError."""
    # Not the default context: since Python 3.13 that refuses a CA without an authority key identifier.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca:
        context.load_verify_locations(ca)
    if certificate:
        context.load_cert_chain(certificate, key)
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))


def read(answer: IO[bytes]) -> str:
    """The body of an answer over HTTP. Raises ValueError for one that is longer than what is asked for can be."""
    content = answer.read(LONGEST + 1)
    if len(content) > LONGEST:
        raise ValueError(f"an answer of more than {LONGEST} bytes")
    return content.decode()


def ask(kubeconfig: Path, path: str) -> tuple[int, str]:
    """Status and body of the API's answer to the user of a kubeconfig; 0 and the reason when there is none.

    Not through `k3s kubectl`: starting it takes a board more than a second.
    """
    try:
        text = kubeconfig.read_text()
        found = {k: re.search(rf"^ *{k}: *\"?([^\s\"]+)", text, re.MULTILINE) for k in _KUBECONFIG}
        server, ca, certificate, key = (match.group(1) if match else "" for match in found.values())
        with opener(ca, certificate, key).open(server + path, timeout=10) as answer:
            return answer.status, read(answer)
    except urllib.error.HTTPError as error:
        return error.code, ""
    except (OSError, ValueError, http.client.HTTPException) as error:
        return 0, str(error)


def proxy_synced(metrics: str) -> bool:
    """Whether kube-proxy has written its rules since it started: until then it knows of no change of endpoints."""
    try:
        with opener().open(metrics, timeout=10) as answer:
            text = read(answer)
    except (OSError, ValueError, http.client.HTTPException):
        return False
    # One line for each family of addresses; a family appears when something was queued, then when it was written.
    pattern = r"^kubeproxy_sync_proxy_rules_{}_timestamp_seconds(\{{.*\}})? (\S+)$"
    queued, done = (
        {family for family, value in re.findall(pattern.format(name), text, re.MULTILINE) if float(value) > 0}
        for name in ("last_queued", "last")
    )
    return bool(done) and queued <= done
