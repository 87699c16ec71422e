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
    boards: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]], more: Sequence[str]
) -> list[str]:
    """Every name and address by which a browser may reach one of the boards, as subject alternative names, sorted."""
    found = set(more)
    for board in boards:
        found |= {board, str(hostvars[board].get("ansible_host") or board)}
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
    """Whether a certificate was signed by that CA, has just these names, and is good for that many days more.

    An empty or unreadable certificate does not fit.
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
    return has == set(names) and leaf.not_valid_after_utc > datetime.now(UTC) + timedelta(days=days)


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
        }
