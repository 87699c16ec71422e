"""What a run would still download: is it there, and is there room for it? Nothing here changes anything."""

from __future__ import annotations

import urllib.error
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from netrc import NetrcParseError
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ansible.module_utils.urls import open_url

from ..container_image.inputs import ImageError, Inputs, tag
from ..files import free_at
from ..network import is_open
from .control import Needs, in_scope, ssh_port
from .links import is_url
from .model import Host, Inventory, Place, Report
from .paths import CONTEXT

#: Fields of Inputs, what their variables' names end in, and the role's defaults.
_BASE = (("base", "", ""), ("source", "_source", "registry"), ("suite", "_suite", "trixie"))


def check(inventory: Inventory, scope: Iterable[str], needs: Needs, report: Report) -> None:
    """Report unreachable URLs and a full disk, if something must still be downloaded.

    Uses the network, and so needs a valid inventory: boards are checked for an open ssh port (a running board is
    not flashed), URLs for the headers of one file.
    """
    boards = in_scope(inventory, scope)
    to_flash = _to_flash(boards, inventory)
    wanted = _missing_images(to_flash, inventory) + _missing_releases(boards, inventory)
    prepared = [host for host in to_flash if inventory.value(host, "card_image_parts") and not _is_prepared(host)]
    prepared_mb = max((inventory.value(host, "card_image_cache_free_mb") or 0 for host in prepared), default=0)
    _disk(inventory, needs, bool(wanted) or not all(map(_image_is_cached, boards)), prepared_mb, report)
    if not wanted or not needs.check_urls:
        return
    with ThreadPoolExecutor(max_workers=8) as pool:
        problems = list(pool.map(lambda each: first_problem(each.candidates, needs.url_timeout), wanted))
    for download, problem in zip(wanted, problems, strict=True):
        if problem:
            remedy = needs.hint or "check the URL and the control node's network"
            report.add(download.place, download.key, download.value, problem, remedy)


def _disk(inventory: Inventory, needs: Needs, downloads: bool, prepared_mb: int, report: Report) -> None:
    """Report a disk of the cache that is too small for downloads, the container image and prepared OS images."""
    wants = {
        f"downloads and the container image need {needs.cache_free_mb} MiB (preflight_cache_free_mb)": downloads,
        f"prepared OS images need {prepared_mb} MiB (card_image_cache_free_mb)": prepared_mb > 0,
    }
    wanted = needs.cache_free_mb * downloads + prepared_mb
    names = ("cluster_cache_dir", "container_image_cache_dir")
    settings = [setting for name in names for _host, setting in inventory.settings(name)]
    for place, name, folder in sorted({(each.place, each.name, str(each.value)) for each in settings if each.value}):
        free = free_at(Path(folder)) // 2**20
        if free < wanted:
            why = ", and ".join(text for text, is_wanted in wants.items() if is_wanted)
            remedy = "free some space, or write a directory on a larger disk"
            remedy += "; card_image_parts: [] does without prepared OS images" if prepared_mb else ""
            report.add(place, name, folder, f"{free} MiB are free there, but {why}", remedy)


@dataclass(frozen=True)
class Download:
    """Something to be downloaded: one of the candidates must exist."""

    place: Place
    key: str
    value: str
    candidates: tuple[str, ...]


def _to_flash(boards: list[Host], inventory: Inventory) -> list[Host]:
    """Boards that have a card and are not running."""
    with_card = [host for host in boards if host.get("flash_card") and is_url(inventory.value(host, "flash_image_url"))]
    with ThreadPoolExecutor(max_workers=16) as pool:
        up = list(pool.map(lambda host: is_open(str(host.get("ansible_host")), ssh_port(host), 1), with_card))
    return [host for host, is_up in zip(with_card, up, strict=True) if not is_up]


def _missing_images(to_flash: list[Host], inventory: Inventory) -> list[Download]:
    """OS images of boards that will be flashed, unless the pinned image is in the cache already."""
    found: dict[str, Download] = {}
    for host in to_flash:
        url, pin = (inventory.value(host, name) for name in ("flash_image_url", "flash_image_sha256"))
        if not (pin and _is_cached(host, f"*/{pin}.img*")):
            found.setdefault(url, Download(_place(host, inventory, "flash_image_url"), "flash_image_url", url, (url,)))
    return list(found.values())


def _missing_releases(boards: list[Host], inventory: Inventory) -> list[Download]:
    """k3s releases that have no directory in the cache yet."""
    found: dict[tuple[str, str], Download] = {}
    for host in boards:
        base = inventory.value(host, "k3s_release_url")
        version = inventory.value(host, "k3s_version")
        # A spare board has no version until it joins.
        if "cluster" not in host.groups or not is_url(base) or _is_cached(host, f"k3s/{version}/*k3s*"):
            continue
        # The boards' architecture is unknown until they run; a release has both, a mirror perhaps one.
        urls = tuple(f"{base}/{quote(version)}/sha256sum-{arch}.txt" for arch in ("arm64", "amd64"))
        place = _place(host, inventory, "k3s_release_url")
        found.setdefault((base, version), Download(place, "k3s_release_url", f"{base}/{version}", urls))
    return list(found.values())


def _place(host: Host, inventory: Inventory, name: str) -> Place:
    return host.settings[name].place if name in host.settings else inventory.source


def _is_cached(host: Host, pattern: str) -> bool:
    folder = Path(str(host.get("cluster_cache_dir", "")))
    return folder.is_absolute() and folder.is_dir() and any(folder.glob(pattern))


def _is_prepared(host: Host) -> bool:
    """Whether there are prepared OS images, so that another one replaces the oldest of them."""
    folder = host.get("card_image_cache_dir")
    return any(Path(str(folder)).glob("prepared-*.img")) if folder else _is_cached(host, "images/prepared-*.img")


def _image_is_cached(host: Host) -> bool:
    """Whether an archive of the large image, as it would be built now, is in the cache, for some architecture."""
    context = Path(str(host.get("container_image_context", CONTEXT)))
    given = {name: str(host.get(f"container_image_base{suffix}", default)) for name, suffix, default in _BASE}
    folder = host.get("container_image_cache_dir") or f"{host.get('cluster_cache_dir', '')}/images-oci"
    try:
        return any(Path(str(folder)).glob(f"{tag(Inputs(context, **given))}-*.tar"))
    except (ImageError, OSError):
        return False  # reported elsewhere


def first_problem(candidates: tuple[str, ...], timeout: float) -> str | None:
    """Why none of these URLs can be downloaded (the last one's reason), or None if one can."""
    problem = None
    for url in candidates:
        problem = url_problem(url, timeout)
        if problem is None:
            return None
    return problem


def url_problem(url: str, timeout: float) -> str | None:
    """Why a URL can't be downloaded, or None. Requests the headers only; `timeout` in seconds."""
    try:
        with open_url(url, method="HEAD", timeout=timeout, http_agent="edge-ai-cluster"):
            return None
    except urllib.error.HTTPError as error:
        # A server without HEAD is reachable all the same.
        return None if error.code in (405, 501) else f"{url} returns {error.code} {error.reason}"
    except NetrcParseError as error:
        return f"{url} cannot be asked for, ~/.netrc is not valid ({error})"
    except (OSError, ValueError) as error:
        reason: Any = getattr(error, "reason", error)
        return f"{url} is unreachable ({getattr(reason, 'strerror', None) or reason})"
