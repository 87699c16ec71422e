"""Archive -> a node's containerd, streamed: only the image itself is written to the board's card."""

import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..ssh import running
from .archive import Archive
from .inputs import ImageError
from .progress import HEARTBEAT

#: An image with this label is never garbage-collected by the kubelet, like k3s's own.
PINNED = "io.cri-containerd.pinned"

#: Part of the node's card, beyond what the image takes, that must stay free: 10 % of a 5 GB card.
RESERVE = 500_000_000

#: Bytes of a node's output that are shown.
LONGEST = 4000


def remote_script(archive: Archive, k3s: str, data_dir: str) -> str:
    """POSIX shell for root on the node: check free space, import from standard input, verify; unpin older images.

    `--local`: containerd 2.3's transfer service is 50 % slower on a small board, and once hung with a quarter of the
    archive sent.
    Older images stay until the kubelet needs their space: pods may run from them until the manifests are applied.
    """
    needed = (archive.size + archive.unpacked_size + RESERVE) // 1024
    ctr = f"{shlex.quote(k3s)} ctr --namespace k8s.io"
    reference, repository = shlex.quote(archive.reference), shlex.quote(archive.reference.rpartition(":")[0] + ":")
    directory = shlex.quote(data_dir)
    return f"""set -eu
[ -d {directory} ] || {{ echo "{data_dir} does not exist: k3s is not installed on this node" >&2; exit 1; }}
free=$(df -Pk {directory} | awk 'NR == 2 {{print $4}}')
[ "$free" -ge {needed} ] || {{
    echo "{data_dir}: $((free / 1024)) MiB free, {needed // 1024} needed: free some space, or use a larger card" >&2
    exit 1
}}
{ctr} images import --local --label {PINNED}=pinned - >/dev/null
digest=$({ctr} images ls name=={reference} | awk 'NR == 2 {{print $3}}')
[ "$digest" = {archive.manifest_digest} ] || {{ echo "{archive.reference} was imported as '$digest'" >&2; exit 1; }}
{ctr} images ls -q | grep -F {repository} | grep -vxF {reference} | while read -r old; do
    {ctr} images label "$old" {PINNED}= >/dev/null
done || :
"""


def send(archive: Archive, ssh: dict[str, Any], script: str, timeout: float, show: Callable[[str], None]) -> float:
    """Runs `script` as root on the node that `ssh` reaches, with the archive as its input. Returns seconds.

    Raises:
        ImageError: it failed, with the node's output, or took longer than `timeout` seconds.
    """
    begun = shown = time.monotonic()
    sent = 0
    with (
        Path(archive.path).open("rb") as source,
        running(ssh, ["sh", "-c", f"exec >&2\n{script}"], timeout, LONGEST) as node,
    ):
        stdin = node.process.stdin
        assert stdin
        try:
            while chunk := source.read(1 << 20):
                stdin.write(chunk)
                sent += len(chunk)
                if time.monotonic() - shown > HEARTBEAT:
                    shown = time.monotonic()
                    share = f"{sent / 1e6:.0f} of {archive.size / 1e6:.0f} MB"
                    show(f"{share} sent in {shown - begun:.0f} s")
            stdin.close()
        except BrokenPipeError:
            pass  # It ended early; its output says why.
        show(f"{sent / 1e6:.0f} MB sent in {time.monotonic() - begun:.0f} s; the node unpacks them")
        while (code := node.process.poll()) is None:
            try:
                node.process.wait(HEARTBEAT)
            except subprocess.TimeoutExpired:
                show(f"the node unpacks, {time.monotonic() - begun:.0f} s since the start")
        # Errors are at the end.
        message = node.errors.text()
    if node.late.is_set():
        raise ImageError(
            f"the import did not finish within {timeout:.0f} s (container_image_import_timeout), {sent / 1e6:.0f} of "
            f"{archive.size / 1e6:.0f} MB were sent; on the node check journalctl -u 'k3s*' and "
            f"/var/lib/rancher/k3s/agent/containerd/containerd.log\n{message}"
        )
    if code:
        raise ImageError(message or f"the import failed with exit code {code} and no output")
    return time.monotonic() - begun
