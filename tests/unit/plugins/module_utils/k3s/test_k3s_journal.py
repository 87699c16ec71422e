"""Which lines of k3s's journal are shown, and what is advised."""

from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s import journal

REJECTED = (
    'time="2026-11-22T02:00:0{n}Z" level=info msg="Waiting to retrieve agent configuration; server is not ready: '
    "Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may not match server "
    'node-passwd entry, try enabling a unique node name with the --with-node-id flag"'
)


def test_what_an_agent_repeats_is_reported_once_with_a_remedy() -> None:
    lines = ["Starting k3s-agent.service", *(REJECTED.format(n=n) for n in range(9))]
    tail = journal.journal_tail(lines)
    assert len(tail) == 2
    assert "Node password rejected" in tail[1]
    assert "time=" not in tail[1]
    text, permanent = journal.advice(lines, "pi-03")
    assert permanent
    assert "k3s kubectl delete node pi-03" in text


def test_information_of_components_hides_no_error() -> None:
    lines = [
        *(f'containerd: time="2026-11-22T02:00:0{n}+01:00" level=info msg="loading plugin" id={n}' for n in range(9)),
        'time="x" level=fatal msg="flag provided but not defined: -tls-san"',
        *(f"I1122 02:00:00.00000{n}  123 reflector.go:1] caches populated {n}" for n in range(9)),
        *(f"kube-apiserver: I1122 02:00:00.00000{n}  123 cache.go:1] caches {n} are synced" for n in range(9)),
        "E1122 02:00:00.000001     123 kubelet.go:1] no route to host",
        "kine: INFO[2026-11-22T02:00:00+01:00] Closing database connections...",
    ]
    assert journal.journal_tail(lines) == [
        'level=fatal msg="flag provided but not defined: -tls-san"',
        "E kubelet.go:1] no route to host",
    ]


def test_a_server_that_is_only_late_is_no_permanent_error() -> None:
    line = 'level=error msg="Failed to validate connection to cluster at https://10.77.0.11:6443: connection refused"'
    text, permanent = journal.advice([line], "pi-03")
    assert not permanent
    assert "6443" in text
    assert journal.advice(["nothing to see"], "pi-03") == ("", False)


EXPIRY = (
    "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time {} is {} {}"
)


def test_an_expired_certificate_is_told_from_a_clock_that_is_behind() -> None:
    now, end, begin = "2027-12-26T01:02:03+01:00", "2027-11-26T00:00:00Z", "2028-01-01T00:00:00Z"
    text, permanent = journal.advice([EXPIRY.format(now, "after", end)], "pi-03")
    assert "has expired" in text and "site.yml" in text and "clock" not in text
    assert not permanent
    text, _ = journal.advice([EXPIRY.format(now, "before", begin)], "pi-03")
    assert "clock" in text and "expired" not in text
