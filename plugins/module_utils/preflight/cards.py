"""SD cards, and the images that are written to them."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from ..flash.gate import is_link_of_card
from .model import Host, Inventory, Report, Setting

ZONES = Path("/usr/share/zoneinfo")
_BY_ID = "write the whole disk as /dev/disk/by-id/... (ls -l /dev/disk/by-id)"
_PARTITION = re.compile(r"/dev/((sd|vd|hd|xvd)[a-z]+\d+|(mmcblk|nvme\d+n|loop)\d+p\d+|disk/by-[a-z]+/.*-part\d+)")
_NOT_A_CARD = re.compile(r"^/dev/(loop|ram|zram|dm-|md|sr|fd|mapper/|mmcblk\d+(boot\d|rpmb)|null$|zero$)")
_SIZE = re.compile(r"\d+(\.\d+)?\s*([KMGT](i?B)?)?")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_USER = re.compile(r"[a-z][a-z0-9-]{0,31}")


def check(inventory: Inventory, report: Report) -> None:
    """Report cards that can't be written safely, and seeds that no user could log in with."""
    taken: dict[PurePosixPath, tuple[Host, Setting]] = {}
    for host in inventory.boards():
        _card(host, taken, report)
        _size(host, report)
        _pin(host, inventory, report)
        _seed(host, inventory, report)
        _fingerprint(host, report)


def _card(host: Host, taken: dict[PurePosixPath, tuple[Host, Setting]], report: Report) -> None:
    setting = host.settings.get("flash_card")
    if setting is None or not isinstance(setting.value, str) or not setting.value:
        return  # a board whose card is written by hand
    if not host.get("ansible_ssh_private_key_file"):
        remedy = "write '{{ cluster_secrets_dir }}/id_ed25519', which is generated, or a key of your own"
        report.missing(host, "ansible_ssh_private_key_file", remedy)
    path = PurePosixPath(setting.value)
    if not path.is_absolute() or ".." in path.parts:
        report.setting(host, setting, "not an absolute path", _BY_ID + ", or a file's full path")
        return
    if _PARTITION.fullmatch(setting.value):
        report.setting(host, setting, "a partition, not a whole disk", _BY_ID)
    elif _NOT_A_CARD.match(setting.value):
        report.setting(host, setting, "not an SD card", _BY_ID)
    elif path.parts[1:2] == ("dev",):
        serial = host.settings.get("flash_card_serial")
        if serial is None or serial.value in (None, ""):
            report.missing(
                host,
                "flash_card_serial",
                f"write the serial number that `lsblk -dno SERIAL {setting.value}` shows: "
                "it confirms that this disk may be erased",
            )
    # Boards may have one reader, which is asked for a card after another; two may not have one card, or one file.
    if path in taken and not setting.from_command_line:
        other, first = taken[path]
        problem = f"{other.name} has the same card ({first.place})"
        if is_link_of_card(setting.value):
            problem += ": a built-in reader has another link for each card"
            remedy = "delete it here, and give it and flash_card_serial with -e, for one board at a time with -l"
            report.setting(host, setting, problem, remedy)
        elif path.parts[1:2] != ("dev",):
            report.setting(host, setting, problem, "give each board its own file")
    taken.setdefault(path, (host, setting))


def _size(host: Host, report: Report) -> None:
    setting = host.settings.get("flash_card_size")
    if setting is None or setting.value in (None, ""):
        return
    if not isinstance(setting.value, str | int) or not _SIZE.fullmatch(str(setting.value)):
        report.setting(host, setting, "not a size", "write a number and K, M, G or T, such as 16G")


def _pin(host: Host, inventory: Inventory, report: Report) -> None:
    """The role's default digest is that of its default image: another image needs its own digest."""
    url = host.settings.get("flash_image_url")
    default = inventory.defaults.get("flash_image_url")
    pinned = "flash_image_sha256" in host.settings or not inventory.defaults.get("flash_image_sha256")
    if url and url.value and not pinned and url.value != str(default).strip():
        report.setting(
            host,
            url,
            "without flash_image_sha256 it is compared with the digest of the role's own image",
            'write the digest that is in the .sha256 file beside it, or "" to trust that file',
        )


def _seed(host: Host, inventory: Inventory, report: Report) -> None:
    user = host.settings.get("flash_user")
    made_for = inventory.value(host, "flash_user")
    login = host.settings.get("ansible_user")
    if user and isinstance(user.value, str) and (not _USER.fullmatch(user.value) or user.value == "root"):
        report.setting(
            host,
            user,
            "not a valid user name for Raspberry Pi OS",
            "write a-z, 0-9 and hyphens, beginning with a letter, not root; such as pi",
        )
    elif host.get("flash_card") and made_for and login and login.value not in (None, made_for):
        where = user.place if user else "the role's default"
        report.setting(
            host,
            login,
            f"the card is made for {made_for} (flash_user, {where}), so no other user can log in",
            f"write {made_for} in both",
        )
    interface = host.settings.get("flash_interface")
    if interface and str(interface.value).startswith("wl"):
        report.setting(
            host,
            interface,
            "a Wi-Fi interface, but the card is made for a wired network",
            "write the wired one, such as eth0, or flash the board by hand (docs/hardware.md)",
        )
    tokens = host.settings.get("flash_cmdline")
    if tokens and isinstance(tokens.value, list):
        for index, token in enumerate(tokens.value):
            if isinstance(token, str) and (not token or re.search(r"\s", token)):
                report.setting(
                    host,
                    tokens,
                    "not a single kernel command line option",
                    "write one option an item, without spaces, such as cgroup_enable=memory",
                    inner=str(index),
                    value=token,
                )
    zone = host.settings.get("flash_timezone")
    if zone and isinstance(zone.value, str) and ZONES.is_dir() and not _is_zone(zone.value):
        report.setting(host, zone, "unknown time zone", "write one of `timedatectl list-timezones`")


def _fingerprint(host: Host, report: Report) -> None:
    setting = host.settings.get("flash_host_key_fingerprint")
    if setting and isinstance(setting.value, str) and setting.value and not _FINGERPRINT.fullmatch(setting.value):
        report.setting(
            host,
            setting,
            "not a fingerprint of a host key",
            "write SHA256: and the 43 characters that `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` shows on the "
            "board",
        )


def _is_zone(name: str) -> bool:
    """Whether this is a time zone by its whole name: zoneinfo also has lists of them, such as zone.tab."""
    path = PurePosixPath(name)
    if ".." in path.parts or path.is_absolute() or str(path) != name or not (ZONES / path).is_file():
        return False
    with (ZONES / path).open("rb") as file:
        return file.read(4) == b"TZif"
