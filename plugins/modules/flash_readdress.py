#!/usr/bin/python
"""Ansible module: give a board that runs another static address, from its next start on."""

# Runs on the board with the board's Python and nothing but the standard library.

from __future__ import annotations

DOCUMENTATION = r"""
module: flash_readdress
short_description: Change the seed of a running board to another static address
description:
  - Writes network-config and meta-data on the board's boot partition. With the new identity in meta-data, cloud-init
    sets the board up again at its next start, with the new network; until then nothing changes.
  - A board that was flashed by hand is left alone. Fails on one whose cloud-init does not use the seed.
options:
  name: {description: "Host name of the board.", type: str, required: true}
  user_data: {description: "The seed's user-data, according to the inventory.", type: str, required: true}
  present: {description: "The seed's network-config, according to the inventory.", type: str, required: true}
  network_config: {description: "The network-config to write.", type: str, required: true}
  cmdline: {description: "Kernel tokens of the card.", type: list, elements: str, required: true}
  image: {description: "Digest of the OS image, or its URL if no digest is pinned.", type: str, required: true}
  boot: {description: "Where the boot partition is mounted.", type: path, default: /boot/firmware}
  cloud: {description: "The directory of cloud-init's state.", type: path, default: /var/lib/cloud}
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.flash_readdress:
    name: pi-01
    user_data: "#cloud-config\n"
    present: "network: {version: 2}\n"
    network_config: "network: {version: 2}\n"
    cmdline: [cgroup_enable=memory]
    image: https://example.org/os.img.xz
  become: true
"""
RETURN = r"""
instance_id:
  description: The identity of the board from its next start on; empty for one that was flashed by hand.
  type: str
  returned: success
"""

import re
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils.files import write_text
from ansible_collections.edge_ai.cluster.plugins.module_utils.flash.seed import (
    digest,
    instance_id,
    parse_meta_data,
    without_login_key,
)

MARK = "edge-ai-network-config"


def moved_identity(card: dict[str, str], used: str, name: str, inventory: tuple[str, str], network_config: str) -> str:
    """The instance-id of a card's meta-data `card` with the new network-config.

    `used` is what the board runs as, `inventory` has the identities of the inventory with the present network and with
    the new one. A card that differs from the inventory in more than that still differs.
    """
    before, after = inventory
    if card["instance-id"] == before or used == after:
        return after
    if card[MARK] == digest(network_config):
        return card["instance-id"]
    return f"{name}-{digest(card['instance-id'] + network_config)}"


def moved_meta_data(text: str, identity: str, network_config: str) -> str:
    """meta-data with another instance-id and the digest of another network-config; all else as it was."""
    text = re.sub(r"^instance-id:.*$", f"instance-id: {identity}", text, flags=re.MULTILINE)
    return re.sub(rf"^{MARK}:.*$", f"{MARK}: {digest(network_config)}", text, flags=re.MULTILINE)


def without_login(user_data: str) -> str:
    """user-data without its login keys: set up again, a board would let in one that was rotated since."""
    return re.sub(r"^ *ssh_authorized_keys:\n(?: *- .*\n)*", "", user_data, flags=re.MULTILINE)


def main() -> None:
    """Entry point."""
    text = {"type": "str", "required": True}
    module = AnsibleModule(
        argument_spec={
            "name": text,
            "user_data": text,
            "present": text,
            "network_config": text,
            "cmdline": {"type": "list", "elements": "str", "required": True},
            "image": text,
            "boot": {"type": "path", "default": "/boot/firmware"},
            "cloud": {"type": "path", "default": "/var/lib/cloud"},
        },
        supports_check_mode=True,
    )
    params = module.params
    boot, cloud, name = Path(params["boot"]), Path(params["cloud"]), params["name"]
    meta = (boot / "meta-data").read_text(errors="replace") if (boot / "meta-data").exists() else ""
    card = parse_meta_data(meta)
    if MARK not in card or "instance-id" not in card:
        module.exit_json(changed=False, instance_id="", msg=f"{name} was not flashed by the role flash")
    try:
        user_data, network = ((boot / file).read_text() for file in ("user-data", "network-config"))
        used = (cloud / "data/instance-id").read_text().strip()
    except OSError as error:
        module.fail_json(msg=f"{name}: {error.filename}: {error.strerror}")
    # After the first of two changes, the board still runs as what it was before both.
    others = used != card["instance-id"] and network == params["present"]
    if others or Path("/etc/cloud/cloud-init.disabled").exists():
        module.fail_json(msg=f"{name}: cloud-init does not set this board up from {boot}: it runs {used}")
    key_less = without_login_key(params["user_data"])
    before, after = (
        instance_id(name, key_less, each, params["cmdline"], params["image"])
        for each in (params["present"], params["network_config"])
    )
    identity = moved_identity(card, used, name, (before, after), params["network_config"])
    changed = identity != card["instance-id"]
    # meta-data last: without a new identity there, the other two have no effect.
    wanted = {
        "user-data": without_login(user_data),
        "network-config": params["network_config"],
        "meta-data": moved_meta_data(meta, identity, params["network_config"]),
    }
    if changed and not module.check_mode:
        try:
            for file, content in wanted.items():
                write_text(boot / file, content, None)
        except OSError as error:
            module.fail_json(msg=f"{name}: {boot} cannot be written: {error.strerror}")
    module.exit_json(changed=changed, instance_id=identity)


if __name__ == "__main__":
    main()
