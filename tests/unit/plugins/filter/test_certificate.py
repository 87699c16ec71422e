"""Which names the Ingress's certificate has, and when it is made again: on certificates made here."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.edge_ai.cluster.plugins.filter import certificate
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOSTVARS = {
    "pi-01": {"ansible_host": "10.77.0.11"},
    "pi-02.example.org": {"ansible_host": "fd00::2"},
    "Pi-03": {},
}
NAMES = certificate.certificate_names(list(HOSTVARS), HOSTVARS, ["jupyter.example.org"])


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def signed(
    subject: str,
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    by: ec.EllipticCurvePrivateKey,
    days: int,
    names: list[str],
    begins: int = -400,
) -> str:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begins))
        .not_valid_after(now + timedelta(days=days))
    )
    if names:
        general = [
            x509.IPAddress(ipaddress.ip_address(value)) if kind == "IP" else x509.DNSName(value)
            for kind, _, value in (each.partition(":") for each in names)
        ]
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    return builder.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def constrained_ca(names: list[str]) -> str:
    """A CA for these names alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    subtrees = [
        x509.IPAddress(ipaddress.ip_network(value)) if kind == "IP" else x509.DNSName(value)
        for kind, _, value in (each.partition(":") for each in certificate.certificate_constraints(names))
    ]
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name("ca")).issuer_name(name("ca")).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=9))
    builder = builder.add_extension(x509.NameConstraints(subtrees, None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture(scope="module")
def keys() -> tuple[ec.EllipticCurvePrivateKey, ec.EllipticCurvePrivateKey]:
    return ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())


def test_names_are_all_by_which_a_board_may_be_reached() -> None:
    assert NAMES == [
        "DNS:jupyter.example.org", "DNS:pi-01", "DNS:pi-01.local", "DNS:pi-02.example.org", "DNS:pi-03",
        "DNS:pi-03.local", "IP:10.77.0.11", "IP:fd00::2",
    ]  # fmt: skip


def test_a_ca_may_sign_for_private_networks_and_for_what_was_named() -> None:
    permitted = certificate.certificate_constraints([*NAMES, "IP:198.51.100.7"])
    assert {"DNS:local", "IP:10.0.0.0/8", "DNS:jupyter.example.org", "DNS:pi-01", "IP:198.51.100.7/32"} <= set(
        permitted
    )
    assert not {"DNS:pi-01.local", "IP:10.77.0.11/32", "IP:fd00::2/128"} & set(permitted)


def test_a_certificate_fits_until_something_differs(
    keys: tuple[ec.EllipticCurvePrivateKey, ec.EllipticCurvePrivateKey],
) -> None:
    ca_key, leaf_key = keys
    ca = signed("ca", "ca", ca_key, ca_key, 3650, [])
    good = signed("leaf", "ca", leaf_key, ca_key, 61, NAMES)
    assert certificate.certificate_fits(good, ca, NAMES, 60)
    others = {
        "ends too soon": signed("leaf", "ca", leaf_key, ca_key, 59, NAMES),
        "signed by another CA of that name": signed("leaf", "ca", leaf_key, leaf_key, 61, NAMES),
        "lacks a board": signed("leaf", "ca", leaf_key, ca_key, 61, NAMES[1:]),
        "has a board that is gone": signed("leaf", "ca", leaf_key, ca_key, 61, [*NAMES, "DNS:pi-09"]),
        "is of a clock that was ahead": signed("leaf", "ca", leaf_key, ca_key, 900, NAMES, begins=1),
        "has no names": signed("leaf", "ca", leaf_key, ca_key, 61, []),
        "is empty": "",
        "is incomplete": good[:200],
    }
    assert {what: certificate.certificate_fits(pem, ca, NAMES, 60) for what, pem in others.items()} == dict.fromkeys(
        others, False
    )


@pytest.mark.parametrize(("begins", "ends"), [(-400, -1), (1, 3650)])
def test_a_ca_that_is_not_valid_is_made_again(
    keys: tuple[ec.EllipticCurvePrivateKey, ec.EllipticCurvePrivateKey], begins: int, ends: int
) -> None:
    ca_key, leaf_key = keys
    ca = signed("ca", "ca", ca_key, ca_key, ends, [], begins)
    assert not certificate.certificate_valid(ca)
    assert not certificate.certificate_fits(signed("leaf", "ca", leaf_key, ca_key, 61, NAMES), ca, NAMES, 60)
    assert certificate.certificate_valid(signed("ca", "ca", ca_key, ca_key, 3650, []))
    assert not certificate.certificate_valid("")


@pytest.mark.parametrize(
    ("begins", "ends", "words"),
    [(-1, 31, None), (-1, 29, "ends on 20"), (-9, -1, "ended on 20"), (1, 397, "is not valid before 20")],
)
def test_a_certificate_that_browsers_refuse_soon_is_a_problem(begins: int, ends: int, words: str | None) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    found = certificate.certificate_problems(signed("a", "a", key, key, ends, [], begins), "/tls.crt", own=False)
    assert (found and words in found[0] and "site.yml" in found[0]) if words else not found


def test_a_file_without_a_certificate_is_a_problem() -> None:
    assert "put a new one there" in certificate.certificate_problems("nothing", "/tls.crt", own=True)[0]


def test_ends_and_fingerprint_are_those_of_openssl() -> None:
    """Those of `openssl x509 -enddate -fingerprint -sha256`; of a chain, the first one's."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem, other = (signed("a", "a", key, key, days, []) for days in (10, 99))
    day = (datetime.now(UTC) + timedelta(days=10)).date().isoformat()
    assert certificate.certificate_ends({"https": pem + other, "none": ""}) == [{"name": "https", "ends": day}]
    shown = certificate.certificate_fingerprint(pem + other)
    assert shown == x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex(":").upper()
    assert certificate.certificate_fingerprint("") == ""


@pytest.mark.parametrize(
    ("more", "permits"),
    [
        (["IP:192.168.2.11", "DNS:pi-09.local"], True),
        (["IP:198.51.100.7"], True),
        (["IP:198.51.100.8"], False),
        (["DNS:pi-09"], False),
        (["DNS:www.jupyter.example.org"], True),
        (["DNS:notjupyter.example.org"], False),
        (["IP:2001:db8::1"], False),
    ],
)
def test_a_ca_that_is_not_for_a_name_is_made_again(more: list[str], permits: bool) -> None:
    """As openssl and browsers accept the certificate that it signs."""
    pem = constrained_ca([*NAMES, "IP:198.51.100.7"])
    assert certificate.certificate_permits(pem, NAMES)
    assert certificate.certificate_permits(pem, [*NAMES, *more]) == permits


def test_a_board_that_joins_later_needs_no_new_ca() -> None:
    """Its short name is left out; what was named by the owner, or is the only address, is not."""
    pem = constrained_ca(NAMES)
    boards = {**HOSTVARS, "pi-04": {"ansible_host": "10.77.0.14"}}
    names = certificate.certificate_names(list(boards), boards, ["jupyter.example.org"], pem)
    assert set(names) == {*NAMES, "DNS:pi-04.local", "IP:10.77.0.14"}
    assert certificate.certificate_permits(pem, names)
    for other in (
        certificate.certificate_names(list(boards), boards, ["jupyter.example.com"], pem),
        certificate.certificate_names(["pi-05"], {"pi-05": {}}, [], pem),
    ):
        assert not certificate.certificate_permits(pem, other)


def test_a_ca_without_constraints_is_for_every_name() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    assert certificate.certificate_permits(signed("ca", "ca", key, key, 9, []), ["IP:198.51.100.8", "DNS:pi-09"])
    assert not certificate.certificate_permits("", NAMES)
