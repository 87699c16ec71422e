"""Cards as Raspberry Pi Imager writes them for people who flash boards by hand: without the flash role."""

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from lab import board as boards
from lab import card, osimage, osimage_arm64, owner
from lab.cache import Cache
from lab.command import run
from lab.errors import LabError
from lab.settings import Board, Settings

CARD_BYTES = 16 << 30


@dataclass(frozen=True)
class Choice:
    """What is entered into Raspberry Pi Imager, and what the network's router would add."""

    user: str
    hostname: str
    address: str
    """With the length of the network's prefix. Of a real board it comes from the router, by DHCP."""
    sudo_password: bool
    """sudo asks for the user's password."""
    passphrase: bool
    """The login key has one."""


def folder_of(settings: Settings, board: Board) -> Path:
    """Where the login key (id_ed25519), its passphrase and the password of a board's user are."""
    return settings.by_hand / board.name


def write(settings: Settings, cache: Cache, board: Board, choice: Choice) -> Path:
    """Write a board's card anew, with a new login key; the folder that has the key.

    Raises:
        LabError: the board is on, or the lab belongs to another checkout.
    """
    owner.refuse_if_foreign(settings)
    if boards.is_on(settings, board):
        raise LabError(f"{board.name} is on: power it off first (python -m lab power off {board.name})")
    build = osimage_arm64.build if board.arch == "arm64" else osimage.build
    image = next(build(settings, cache).glob("*.img.xz"))
    folder = folder_of(settings, board)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    key = _make_key(folder, choice.passphrase)
    password_hash = _make_password(folder) if choice.sudo_password else ""

    target = settings.card(board)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    part.unlink(missing_ok=True)
    run("sh", "-c", 'xz --decompress --stdout "$1" | dd of="$2" bs=1M conv=sparse status=none', "sh", image, part)
    os.truncate(part, CARD_BYTES)
    identity = f"rpi-imager-{secrets.randbelow(10**13)}"
    card.write_boot_file(part, "meta-data", f"instance-id: {identity}\n")
    card.write_boot_file(part, "user-data", user_data(choice, key, password_hash))
    card.write_boot_file(part, "network-config", network_config(choice.address, settings.gateway))
    line = card.read_boot_file(part, "cmdline.txt").strip()
    card.write_boot_file(part, "cmdline.txt", f"{line} ds=nocloud;i={identity}\n")
    part.rename(target)
    return folder


def _secret(path: Path) -> str:
    """A new random text, in a file of its own."""
    text = secrets.token_urlsafe(16)
    path.touch(mode=0o600)
    path.write_text(text + "\n")
    return text


def _make_key(folder: Path, passphrase: bool) -> str:
    """A new login key; its public half."""
    key = folder / "id_ed25519"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "by-hand", "-f", key)
    if passphrase:
        # From a terminal's point of view: the new passphrase, twice. As an argument others could see it.
        text = _secret(folder / "passphrase")
        ask = folder / "ask"
        ask.write_text(f"#!/bin/sh\ncat {folder / 'passphrase'}\n")
        ask.chmod(0o700)
        environment = {**os.environ, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
        run("ssh-keygen", "-q", "-p", "-f", key, input=f"{text}\n{text}\n", env=environment)
    return key.with_suffix(".pub").read_text().strip()


def _make_password(folder: Path) -> str:
    """A new password of the user; its hash."""
    return run("openssl", "passwd", "-6", "-stdin", input=_secret(folder / "password") + "\n").strip()


def user_data(choice: Choice, public_key: str, password_hash: str) -> str:
    """user-data with the keys that Imager 2.0.11 writes (src/customization_generator.cpp)."""
    account = f"lock_passwd: false\n  passwd: {password_hash}\n  sudo: null" if password_hash else (
        "lock_passwd: true\n  sudo: ALL=(ALL) NOPASSWD:ALL"
    )  # fmt: skip
    return f"""#cloud-config
manage_resolv_conf: false

hostname: {choice.hostname}
manage_etc_hosts: true
apt:
  preserve_sources_list: true
timezone: Europe/London
user:
  name: {choice.user}
  groups: users,adm,dialout,audio,netdev,video,plugdev,cdrom,games,input,gpio,spi,i2c,render,sudo
  shell: /bin/bash
  {account}
  ssh_authorized_keys:
    - {public_key}
ssh_pwauth: false

runcmd:
  # Not Imager's: of a real board regenerate_ssh_host_keys.service of raspberrypi-sys-mods does this.
  - [ssh-keygen, -A]
  - [systemctl, enable, --now, ssh]
"""


def network_config(address: str, gateway: str) -> str:
    """network-config with the address that a router would give to a real board: the lab has no DHCP server."""
    return f"""network:
  version: 2
  ethernets:
    eth0:
      addresses: [{address}]
      routes:
        - to: default
          via: {gateway}
      nameservers:
        addresses: [{gateway}]
      optional: true
"""
