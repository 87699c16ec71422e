"""When certificates of k3s end, and whether a start renews them."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s import certificate

DAY = 86400


def make(file: Path, days: int) -> None:
    """A certificate that ends so many days from now."""
    file.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x",
         "-keyout", "/dev/null", "-out", str(file), "-days", str(days)], check=True, capture_output=True,
    )  # fmt: skip


def test_the_certificate_that_ends_first_is_found(tmp_path: Path) -> None:
    now = time.time()
    assert certificate.first_end(tmp_path, now, now) is None
    for name, days in (("server/tls/client-admin", 300), ("agent/client-kubelet", 200), ("server/tls/server-ca", 5)):
        make(tmp_path / f"{name}.crt", days)
    (tmp_path / "agent/client-none.crt").write_text("-----BEGIN CERTIFICATE-----\nAAAAA\n-----END CERTIFICATE-----\n")
    found = certificate.first_end(tmp_path, now, now)
    assert found and found["file"].endswith("agent/client-kubelet.crt")
    assert found["days"] in (199, 200) and not found["renewable"]
    assert found["ends"] == time.strftime("%Y-%m-%d", time.gmtime(now + 200 * DAY))
    later = certificate.first_end(tmp_path, now + 201 * DAY, now)
    assert later and later["days"] in (-1, -2) and later["renewable"]


def test_what_a_start_of_k3s_left_as_it_is_hides_nothing(tmp_path: Path) -> None:
    now = time.time()
    for name, days in (("client-admin", 300), ("client-kubelet", 200)):
        make(tmp_path / f"agent/{name}.crt", days)
    # Started when the first had 100 days left: k3s left it as it is, so would another start.
    kept = certificate.first_end(tmp_path, now + 150 * DAY, now + 100 * DAY)
    assert kept and kept["file"].endswith("client-kubelet.crt") and not kept["renewable"]
    other = certificate.first_end(tmp_path, now + 250 * DAY, now + 100 * DAY)
    assert other and other["file"].endswith("client-admin.crt") and other["renewable"]


def test_a_date_of_four_digits_is_read(tmp_path: Path) -> None:
    make(tmp_path / "agent/client-kubelet.crt", 30 * 365)
    end = certificate.end_of((tmp_path / "agent/client-kubelet.crt").read_text())
    assert end and abs(end - time.time() - 30 * 365 * DAY) < DAY
