"""Jinja filters about the certificate by which boards answer over https."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID

PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10")
"""Networks of homes and labs: boards that join later are in them too."""
PRIVATE_DOMAINS = ("local", "lan", "home.arpa", "internal")


def subject_alt_name(name: str) -> str:
    """An address or a name in the form that community.crypto takes."""
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        return f"DNS:{name.lower()}"


def certificate_names(
    boards: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]], more: Sequence[str], ca_pem: str = ""
) -> list[str]:
    """Every name and address by which a browser may reach one of the boards, as subject alternative names, sorted.

    With a CA, without the short names of boards that it is not for, because they were not there when it was made: each
    is reached by its address and under .local too, and another CA would have to be given to every browser.
    """
    found = set(more)
    for board in boards:
        address = str(hostvars[board].get("ansible_host") or board)
        found.add(address)
        if "." in board or not ca_pem or certificate_permits(ca_pem, [subject_alt_name(board)]):
            found.add(board)
        if "." not in board:
            # What mDNS publishes.
            found.add(f"{board}.local")
    return sorted(map(subject_alt_name, found))


def certificate_constraints(names: Sequence[str]) -> list[str]:
    """Name constraints of a CA for these names: private networks and domains, and the names outside of those."""
    permitted = [f"DNS:{domain}" for domain in PRIVATE_DOMAINS] + [f"IP:{network}" for network in PRIVATE]
    networks = [ipaddress.ip_network(network) for network in PRIVATE]
    for name in names:
        kind, _, value = name.partition(":")
        if kind == "IP":
            address = ipaddress.ip_address(value)
            if not any(address in network for network in networks if network.version == address.version):
                permitted.append(f"IP:{ipaddress.ip_network(address)}")
        elif not value.endswith(tuple(f".{domain}" for domain in PRIVATE_DOMAINS)):
            permitted.append(name)
    return permitted


def certificate_fits(pem: str, ca_pem: str, names: Sequence[str], days: int) -> bool:
    """Whether a certificate was signed by that CA, has just these names, is valid and will be for that many days.

    An empty or unreadable certificate does not fit, nor does one of a CA that is not valid itself.
    """
    try:
        leaf, ca = (x509.load_pem_x509_certificate(text.encode()) for text in (pem, ca_pem))
        key = ca.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or leaf.signature_hash_algorithm is None:
            return False
        key.verify(leaf.signature, leaf.tbs_certificate_bytes, ec.ECDSA(leaf.signature_hash_algorithm))
        extension = leaf.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except (ValueError, InvalidSignature, x509.ExtensionNotFound):
        return False
    has = {subject_alt_name(str(name.value)) for name in extension}  # type: ignore[attr-defined]
    return has == set(names) and valid(leaf, days) and valid(ca)


def certificate_permits(ca_pem: str, names: Sequence[str]) -> bool:
    """Whether a CA may sign for all of these names; not one that is empty or cannot be read.

    Clients refuse a certificate with a single name that its CA is not for.
    """
    try:
        ca = x509.load_pem_x509_certificate(ca_pem.encode())
        permitted = ca.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    except x509.ExtensionNotFound:
        return True
    except ValueError:
        return False
    networks = [ipaddress.ip_network(each.value) for each in permitted if isinstance(each, x509.IPAddress)]
    domains = [each.value for each in permitted if isinstance(each, x509.DNSName)]
    for name in names:
        kind, _, value = name.partition(":")
        if kind == "IP":
            address = ipaddress.ip_address(value)
            covered = any(address.version == each.version and address in each for each in networks)
        else:
            covered = any(f".{value}".endswith(f".{domain}") for domain in domains)
        if not covered:
            return False
    return True


def valid(certificate: x509.Certificate, days: int = 0) -> bool:
    """Whether a certificate is valid now and in `days`: one that was made with a clock ahead is not valid yet."""
    now = datetime.now(UTC)
    return certificate.not_valid_before_utc <= now and now + timedelta(days=days) < certificate.not_valid_after_utc


def certificate_valid(pem: str) -> bool:
    """Whether a certificate is valid now; not for one that is empty or cannot be read."""
    try:
        return valid(x509.load_pem_x509_certificate(pem.encode()))
    except ValueError:
        return False


def certificate_problems(pem: str, path: str, own: bool, days: int = 30) -> list[str]:
    """Why browsers will refuse the certificate in the file `path` within `days`; `own` is one that no role renews."""
    advice = "put a new one there, then run ansible-playbook site.yml" if own else "run ansible-playbook site.yml"
    try:
        found = x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        return [f"{path} holds no certificate: {advice}"]
    if valid(found, days):
        return []
    now = datetime.now(UTC)
    begins, ends = found.not_valid_before_utc, found.not_valid_after_utc
    what = f"ended on {ends:%Y-%m-%d}" if ends < now else f"ends on {ends:%Y-%m-%d}"
    return [f"the certificate {path} {f'is not valid before {begins:%Y-%m-%d}' if begins > now else what}: {advice}"]


def certificate_ends(pems: Mapping[str, str]) -> list[dict[str, str]]:
    """Name and last day of each certificate; an empty one is left out."""
    return [
        {"name": name, "ends": x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc.date().isoformat()}
        for name, pem in pems.items()
        if pem
    ]


def certificate_fingerprint(pem: str) -> str:
    """SHA-256 as browsers and openssl show it; empty without a certificate."""
    return x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex(":").upper() if pem else ""


class FilterModule:
    """Ansible's hook."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """All filters of this file."""
        return {
            "certificate_constraints": certificate_constraints,
            "certificate_ends": certificate_ends,
            "certificate_fingerprint": certificate_fingerprint,
            "certificate_fits": certificate_fits,
            "certificate_names": certificate_names,
            "certificate_permits": certificate_permits,
            "certificate_problems": certificate_problems,
            "certificate_valid": certificate_valid,
        }
