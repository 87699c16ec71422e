"""Directories and files of the control node that variables name: a later stage reads them, or writes them."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from ..k3s.kubeconfig import FETCHED
from . import tokens
from .model import Inventory, Place, Report
from .suggest import did_you_mean

# The default of manifests_source: k8s/ beside the roles.
_MANIFESTS = Path(__file__).resolve().parents[3] / "k8s"
CONTEXT = _MANIFESTS.parent / "docker"
# The names under which kustomize looks for a directory's file.
_KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")


def check(inventory: Inventory, report: Report) -> None:
    """Report what is not there or cannot be read, and places at which nothing can be written."""
    _directories(inventory, report)
    _context(inventory, report)
    _sources(inventory, report)
    _files(inventory, report)
    _overlays(inventory, report)
    _certificates(inventory, report)
    _kubeconfig(inventory, report)


def nearest_existing(path: Path) -> Path:
    """The path itself or its nearest ancestor that exists; a link that leads nowhere does."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def _directories(inventory: Inventory, report: Report) -> None:
    for name in ("cluster_cache_dir", "cluster_secrets_dir", "cluster_results_dir", "cluster_backups_dir"):
        folders = {(str(setting.value), setting.place) for _host, setting in inventory.settings(name)}
        for folder, place in sorted(folders):
            existing = nearest_existing(Path(folder))
            if not existing.is_dir():
                report.add(place, name, folder, f"{existing} is not a directory", "write a directory's path")
            elif not os.access(existing, os.W_OK | os.X_OK):
                report.add(place, name, folder, f"{existing} is not writable", "write a directory that you own")


def _context(inventory: Inventory, report: Report) -> None:
    """Report files of the image that only their owner may read, as a checkout with umask 077 has them: so they stay."""
    folders = {Path(str(setting.value)) for _host, setting in inventory.settings("container_image_context")}
    for folder in sorted(folders or {CONTEXT}):
        files = sorted(folder.glob("*"))
        closed = [path.name for path in files if path.is_file() and not path.stat().st_mode & 0o004]
        if closed:
            problem = f"not readable for other users ({', '.join(closed[:3])}), nor would they be in the image"
            report.add(Place(str(folder)), "mode", None, problem, f"run `chmod -R go+rX {folder}`")


def _sources(inventory: Inventory, report: Report) -> None:
    """Report directories of the user's own that stages read, and that are not there."""
    for name in ("container_image_context", "manifests_source", "notebooks_source", "notebooks_jobs_source"):
        for host, setting in inventory.settings(name):
            if not Path(str(setting.value)).is_dir():
                report.setting(host, setting, "there is no such directory", "write its path, or delete the line")


def _files(inventory: Inventory, report: Report) -> None:
    """Report paths of secrets at which no file can be written. Of k3s_token_file the role makes the directory, too."""
    for name in (*tokens.FILES, "manifests_jupyter_password_file"):
        for host, setting in inventory.settings(name):
            path = Path(str(setting.value))
            inside = path.is_relative_to(str(host.get("cluster_secrets_dir", "/nonexistent")))
            is_made = inside or name == "k3s_token_file"
            folder = nearest_existing(path.parent) if is_made else path.parent
            if path.exists() and not path.is_file():
                report.setting(host, setting, "not a file", "write the path of a file")
            elif path.is_absolute() and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
                problem = f"no file can be written in {folder}"
                report.setting(host, setting, problem, "make that directory, or write {{ cluster_secrets_dir }}/FILE")


def _overlays(inventory: Inventory, report: Report) -> None:
    for host, setting in inventory.settings("manifests_overlay"):
        overlays = Path(host.get("manifests_source", _MANIFESTS)) / "overlays"
        folder = overlays / Path(str(setting.value)).expanduser()
        if not any((folder / name).is_file() for name in _KUSTOMIZATIONS):
            known = sorted(path.name for path in overlays.glob("*/"))
            remedy = "use " + " or ".join([*known, "the full path of a directory with an overlay"])
            problem = f"{folder} has no kustomization.yaml"
            report.setting(host, setting, problem, did_you_mean(str(setting.value), known, remedy))
            continue
        # Roles compare its last part with hub and lite.
        plain = Path(os.path.normpath(folder))
        name = plain.name if plain.parent == Path(os.path.normpath(overlays)) else os.path.normpath(str(setting.value))
        if name != setting.value:
            report.setting(host, setting, "not written as the name of an overlay, or as a plain path", f"write {name}")


def _certificates(inventory: Inventory, report: Report) -> None:
    """Report a certificate of the user's own for the Ingress that Traefik could not serve."""
    for host, setting in inventory.settings("manifests_tls_certificate_file"):
        key = str(host.get("manifests_tls_key_file") or "")
        if not setting.value:
            continue
        if not key:
            report.setting(host, setting, "has no key", "write the path of its key as manifests_tls_key_file")
        elif problem := pair_problem(Path(str(setting.value)).expanduser(), Path(key).expanduser()):
            report.setting(
                host, setting, problem, "write the paths of a certificate and its key, PEM files, the key not encrypted"
            )


def _kubeconfig(inventory: Inventory, report: Report) -> None:
    """Report a kubeconfig of the user's own, which that of the first server would replace, and a missing directory."""
    for host, setting in inventory.settings("k3s_kubeconfig"):
        path = Path(str(setting.value))
        secrets = str(host.get("cluster_secrets_dir", "/nonexistent"))
        if path.is_dir():
            report.setting(host, setting, "a directory", "write the path of a file in it")
        elif path.is_file() and not path.read_bytes().startswith(FETCHED.encode()):
            problem = "there is another kubeconfig, which this cluster's would replace"
            report.setting(host, setting, problem, "write the path of a new file; KUBECONFIG=FILE:FILE names both")
        elif path.is_absolute() and not path.is_relative_to(secrets) and not path.parent.is_dir():
            problem = f"there is no directory {path.parent}"
            report.setting(host, setting, problem, "make it, or write {{ cluster_secrets_dir }}/kubeconfig")


def pair_problem(certificate: Path, key: Path) -> str:
    """Why two PEM files are not a certificate and its private key; empty when they are."""
    try:
        leaf = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
        private = serialization.load_pem_private_key(key.read_bytes(), password=None)
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        return f"{certificate} and {key} cannot be used: {error}"
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if leaf.public_key().public_bytes(*form) != private.public_key().public_bytes(*form):
        return f"{key} is the key of another certificate"
    return ""
