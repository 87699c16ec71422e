"""URLs of downloads, and the digests they are verified with."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from .model import Host, Inventory, Report, Setting

_DIGEST = re.compile(r"[0-9a-f]{64}")
_ARCHITECTURES = ("amd64", "arm64")


def check(inventory: Inventory, report: Report) -> None:
    """Report malformed URLs and digests in every variable that is named as one."""
    for host in inventory.boards():
        for setting in host.settings.values():
            if setting.value in (None, "", [], {}):
                continue
            if setting.name.endswith("_url"):
                _url(host, setting, report)
            elif setting.name.endswith("_sha256"):
                _digest(host, setting, report)


def is_url(value: object) -> bool:
    """Whether a value is a URL that can be downloaded."""
    if not isinstance(value, str) or re.search(r"\s", value):
        return False
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _url(host: Host, setting: Setting, report: Report) -> None:
    text = str(setting.value)
    if not is_url(setting.value):
        scheme = urlsplit(text).scheme if "://" in text else ""
        problem = f"{scheme}:// is not supported" if scheme not in ("", "http", "https") else "not a URL"
        report.setting(host, setting, problem, "write https://HOST/PATH (or http:// for a mirror of your own)")
    elif "@" in urlsplit(text).netloc:
        report.setting(
            host,
            setting,
            "contains a user name or a password",
            "write the URL without it, and use ~/.netrc",
            value="(not shown)",
        )
    elif setting.name == "flash_image_url" and not urlsplit(text).path.endswith((".img.xz", ".img")):
        report.setting(
            host,
            setting,
            "not the URL of one image: its content changes over time",
            "write the whole URL of a file that ends in .img.xz",
        )


def _digest(host: Host, setting: Setting, report: Report) -> None:
    if isinstance(setting.value, dict):
        for name, digest in setting.value.items():
            if name not in _ARCHITECTURES:
                remedy = f"write {' or '.join(_ARCHITECTURES)}, as the release's sha256sum files are named"
                report.setting(host, setting, "not an architecture of a release", remedy, inner=str(name), value=digest)
            elif not _is_digest(digest):
                report.setting(host, setting, *_bad_digest(digest), inner=str(name), value=digest)
    elif not _is_digest(setting.value):
        report.setting(host, setting, *_bad_digest(setting.value))


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and bool(_DIGEST.fullmatch(value))


def _bad_digest(value: object) -> tuple[str, str]:
    text = str(value)
    if re.fullmatch(r"[0-9A-Fa-f]{64}", text):
        return "a SHA-256 digest must be in lower case", f"write {text.lower()}"
    return (
        f"not a SHA-256 digest: {len(text)} characters instead of 64 of 0-9 and a-f",
        "copy it from the .sha256 file beside the download",
    )
