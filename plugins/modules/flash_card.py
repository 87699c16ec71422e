#!/usr/bin/python
"""Ansible module: write a board's card with the OS image and its seed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: flash_card
short_description: Validate, write, seed and verify a card
description:
  - A card that already has the instance-id of the inventory is kept.
  - Any other card is validated first; every reason against writing is reported at once.
  - A card with another identity of this module is overwritten only with O(overwrite).
options:
  card: {description: "Link in /dev/disk/by-id, or path of an image file.", type: str, required: true}
  serial: {description: "The serial (or model) the device must have, as confirmation.", type: str, default: ""}
  size: {description: "Size of an image file, grown sparse.", type: str, default: 16G}
  max_bytes: {description: "Larger block devices are rejected.", type: int, default: 274877906944}
  removable: {description: "A USB disk, which is no card in a reader, is rejected.", type: bool, default: true}
  image: {description: "Raw OS image.", type: path}
  scratch: {description: "Directory for the seeded boot partition during the write.", type: path}
  instance_id: {description: "Identity that the card must have.", type: str, required: true}
  others: {description: "Identities of other boards' cards, never overwritten.", type: list, elements: str, default: []}
  user_data: {description: "Seed.", type: str}
  meta_data: {description: "Seed.", type: str}
  network_config: {description: "Seed.", type: str}
  host_key: {description: "Seed; the board deletes it from the card at its first boot.", type: str}
  cmdline: {description: "Kernel tokens to append.", type: list, elements: str, default: []}
  validate_only: {description: "Only validate the card, do not write it.", type: bool, default: false}
  overwrite: {description: "Overwrite any content of the card.", type: bool, default: false}
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.flash_card:
    card: /dev/disk/by-id/usb-Generic_MassStorageClass_000000001532-0:0
    serial: "000000001532"
    image: os.img
    scratch: /var/tmp
    instance_id: pi-01-0123456789ab
    user_data: "#cloud-config\n"
    meta_data: "instance-id: pi-01-0123456789ab\n"
    network_config: "network: {version: 2}\n"
    host_key: "{{ lookup('ansible.builtin.file', 'ssh_host_ed25519_key', rstrip=false) }}"
"""
RETURN = r"""
state: {description: "written, pending (would be written) or kept", type: str, returned: success}
named:
  description: File systems on it that have a name, and may hold something. Empty for a card of this module.
  type: list
  elements: str
  returned: when it may be written
reasons: {description: "Every reason why the card was rejected.", type: list, elements: str, returned: failure}
"""

import fcntl
import hashlib
import os
import shutil
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils.flash.gate import (
    card_bytes,
    has_card,
    is_block_path,
    named_content,
    read_block_facts,
    read_file_facts,
    refuse_block,
    refuse_file,
)
from ansible_collections.edge_ai.cluster.plugins.module_utils.flash.seed import (
    ELSEWHERE,
    FAT_TYPES,
    SEED_FILES,
    SeedError,
    boot_partition,
    card_meta_data,
    differences,
    edit_cmdline,
    parse_meta_data,
    read_boot_file,
    write_boot_file,
)
from ansible_collections.edge_ai.cluster.plugins.module_utils.flash.write import (
    Source,
    WriteError,
    make_head,
    write_block_card,
    write_file_card,
)
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import printable


def seeded_head(image: Path, directory: Path, seed: dict[str, str], cmdline: list[str]) -> Source:
    """The card's content: a seeded copy of the image's head, up to the end of its boot partition, and the image."""
    boot = boot_partition(image)
    if boot is None:
        kinds = "/".join(f"{kind:#04x}" for kind in sorted(FAT_TYPES))
        raise SeedError(f"{image} does not start with a FAT partition ({kinds}): this is not a Raspberry Pi OS image")
    original = read_boot_file(image, boot, "cmdline.txt")
    if original is None:
        raise SeedError("the image's boot partition has no cmdline.txt: this is not a Raspberry Pi OS image")
    head, head_bytes = directory / "head.img", boot.offset + boot.size
    make_head(image, head, head_bytes)
    files = {**seed, "cmdline.txt": edit_cmdline(original, cmdline)}
    for name, text in files.items():
        write_boot_file(head, boot, name, text, directory)
        if read_boot_file(head, boot, name) != text:
            raise SeedError(f"{name} differs from what was written to {head}: check the disk of cluster_cache_dir")
    return Source(head, head_bytes, image, image.stat().st_size)


def is_elsewhere(card: dict[str, str], host: str, meta_data: str | None) -> bool:
    """Whether a card's meta-data `card` is that of this board, with another network alone than in `meta_data`."""
    own = card.get("instance-id", "").rpartition("-")[0] == host
    return own and differences(parse_meta_data(meta_data or ""), card) == ["network-config"]


def allocated(path: Path) -> int:
    """Bytes that a file allocates on its disk; 0 without a file."""
    return path.stat().st_blocks * 512 if path.exists() else 0


def main() -> None:
    """Entry point."""
    text = {"type": "str", "required": True}
    module = AnsibleModule(
        argument_spec={
            "card": text,
            "serial": {"type": "str", "default": ""},
            "size": {"type": "str", "default": "16G"},
            "max_bytes": {"type": "int", "default": 256 * 2**30},
            "removable": {"type": "bool", "default": True},
            "image": {"type": "path"},
            "scratch": {"type": "path"},
            "instance_id": text,
            "others": {"type": "list", "elements": "str", "default": []},
            "user_data": {"type": "str"},
            "meta_data": {"type": "str"},
            "network_config": {"type": "str"},
            "host_key": {"type": "str", "no_log": True},
            "cmdline": {"type": "list", "elements": "str", "default": []},
            "overwrite": {"type": "bool", "default": False},
            "validate_only": {"type": "bool", "default": False},
        },
        required_if=[
            ("validate_only", False, ("image", "scratch", "user_data", "meta_data", "network_config", "host_key"))
        ],
        supports_check_mode=True,
    )
    params = module.params
    card, image, wanted = Path(params["card"]), Path(params["image"] or "/nonexistent"), params["instance_id"]
    overwrite, block = params["overwrite"], is_block_path(params["card"])
    seed = {name: params[name.replace("-", "_")] for name in SEED_FILES}

    named: list[str] = []
    try:
        device = read_block_facts(params["card"]) if block else None
        readable = has_card(device) if device else not card.is_symlink()
        current = card_meta_data(card) if readable else {}
        if current.get("instance-id") == wanted and not overwrite:
            module.exit_json(changed=False, state="kept", msg=f"already has {wanted}")

        image_bytes = image.stat().st_size if image.exists() else 0
        if device:
            limits = (params["serial"], image_bytes, params["max_bytes"], params["removable"])
            reasons, size = refuse_block(device, *limits), 0
            named = [] if current.get("edge-ai-user-data") else named_content(device)
        else:
            size = card_bytes(params["size"])
            is_card = card.is_file() and boot_partition(card) is not None
            # The image, the boot partition's seed, and some space for the file system's own tables.
            need = allocated(image) + 16 * 2**20
            facts = read_file_facts(params["card"], is_card)
            reasons = refuse_file(facts, size, image_bytes, need, overwrite)
        host = wanted.rpartition("-")[0]
        if current.get("instance-id") in params["others"]:
            reasons.append(
                f"it is the card of {current['instance-id'].rpartition('-')[0]}, written for its present settings: "
                f"insert the card for {host}"
            )
        elif is_elsewhere(current, host, params["meta_data"]) and not overwrite:
            reasons.append(
                f"it is the card of {host}, may contain its data, and differs from the inventory in its network alone: "
                f"put it back into the board. {ELSEWHERE}"
            )
        elif current.get("edge-ai-user-data") and not overwrite:
            reasons.append(
                f"it has {printable(current.get('instance-id'), 100)}, not {wanted}, and may contain a board's data: "
                f"insert the right card, or overwrite it with -e flash_reflash={host}"
            )
    except (SeedError, ValueError, RuntimeError) as error:
        reasons = [str(error)]
    except OSError as error:
        reasons = [f"{card} cannot be read ({error.strerror}): run as a user with access to it, or correct flash_card"]
    if reasons:
        module.fail_json(
            msg="\n".join([f"{card} was not written:", *(f"  - {reason}" for reason in reasons)]), reasons=reasons
        )
    if params["validate_only"]:
        module.exit_json(changed=False, state="pending", named=named, msg=f"may be written for {wanted}")
    if module.check_mode:
        module.exit_json(changed=True, state="written", msg=f"would be written for {wanted}")

    os.umask(0o077)  # the scratch copy contains a private host key until it is removed
    try:
        name = hashlib.sha256(str(card).encode()).hexdigest()[:12]
        scratch = Path(params["scratch"], f"card-{name}")
        with Path(f"{scratch}.lock").open("a") as lock:
            if os.geteuid() == 0:  # by sudo, in a directory of the user, who may write the next card without it
                owner = scratch.parent.stat()
                os.fchown(lock.fileno(), owner.st_uid, owner.st_gid)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise WriteError("another run is writing it: wait for that run, or stop it") from None
            shutil.rmtree(scratch, ignore_errors=True)  # of an interrupted run
            scratch.mkdir(mode=0o700)
            try:
                source = seeded_head(image, scratch, seed, params["cmdline"])
                written = write_block_card(source, card.resolve()) if block else write_file_card(source, card, size)
                if card_meta_data(card).get("instance-id") != wanted:
                    raise WriteError("its meta-data cannot be read back: use another card or reader")
            finally:
                shutil.rmtree(scratch)
    except (SeedError, WriteError) as error:
        module.fail_json(msg=f"{card} was not written: {error}", reasons=[str(error)])
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename or params['scratch']}: {error.strerror}: check cluster_cache_dir and its disk"
        )
    module.exit_json(
        changed=True, state="written",
        msg=f"written in {written.write_seconds:.1f} s, {written.bytes_compared / 1e9:.2f} GB verified "
        f"in {written.verify_seconds:.1f} s, has {wanted}",
    )  # fmt: skip


if __name__ == "__main__":
    main()
