#!/usr/bin/python
"""Ansible module: the current state of a board, seen from the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: flash_info
short_description: Gather a board's state, compared with the inventory
description:
  - Runs on the control node and logs in to the board once. Changes nothing on it.
  - A host key that has the fingerprint given in O(login) is added to known_hosts.
options:
  name: {description: "Host name of the board.", type: str, required: true}
  login:
    description: address, port, user, key, known_hosts, args (a text), names in known_hosts, fingerprint.
    type: dict
    required: true
  user_data: {description: "The seed's user-data.", type: str, required: true}
  network_config: {description: "The seed's network-config.", type: str, required: true}
  cmdline: {description: "Kernel tokens the card gets.", type: list, elements: str, required: true}
  image: {description: "Digest of the OS image, or its URL if no digest is pinned.", type: str, required: true}
  by_hand: {description: "The board is flashed by hand, any identity is accepted.", type: bool, default: false}
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.flash_info:
    name: pi-01
    login: {address: 192.168.1.11, port: 22, user: pi, key: id_ed25519, known_hosts: known_hosts}
    user_data: "#cloud-config\n"
    network_config: "network: {version: 2}\n"
    cmdline: [cgroup_enable=memory]
    image: https://example.org/os.img.xz
  delegate_to: localhost
"""
RETURN = r"""
state:
  description: >-
    ready (right identity, set up), booting (right identity or none yet, not done), other (another identity),
    refused (ssh rejects the login), down (unreachable).
  type: str
  returned: always
instance_id: {description: "The identity according to the inventory.", type: str, returned: always}
meta_data: {description: "The seed's meta-data.", type: str, returned: always}
detail: {description: "Details for the user.", type: str, returned: always}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils.flash.seed import (
    ELSEWHERE,
    differences,
    instance_id,
    meta_data,
    parse_meta_data,
    without_login_key,
)
from ansible_collections.edge_ai.cluster.plugins.module_utils.flash.ssh import BoardStatus, Login, advice, query

#: What ends a login while a board starts or shuts down, which is no failure: pam_nologin, and an sshd that cloud-init
#: starts anew.
UNFINISHED = (
    "booting up", "shutting down", "hangs", "ssh ended with 255", "Connection closed", "Connection reset",
    "Connection refused", "banner exchange",
)  # fmt: skip


def board_state(status: BoardStatus, wanted: str, wanted_meta: str, by_hand: bool, login: Login) -> tuple[str, str]:
    """State of a board and a sentence about it."""
    if not status.reached:
        return "down", status.error
    if status.error:
        if any(text in status.error for text in UNFINISHED):
            return "booting", status.error
        return "refused", f"{status.error} ({advice(status.error, login)})"
    if by_hand:
        return (
            ("ready", "flashed by hand")
            if not status.instance_id or status.cloud_init_done
            else ("booting", "cloud-init runs")
        )
    if status.instance_id == wanted:
        if status.cloud_init_done and not status.cloud_init_errors and not status.keys_on_card:
            return "ready", f"runs {wanted}"
        return "booting", f"runs {wanted}, cloud-init has not finished without errors yet"
    if not status.instance_id:
        return "other", "was not set up by cloud-init (no /var/lib/cloud/data/instance-id)"
    changed = differences(parse_meta_data(wanted_meta), parse_meta_data(status.meta_data))
    why = f"; changed since: {', '.join(changed)}" if changed else ""
    if changed == ["network-config"]:
        why += f". {ELSEWHERE}"
    return "other", f"runs {status.instance_id}, the inventory now requires {wanted}{why}"


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "login": {"type": "dict", "required": True},
            "user_data": {"type": "str", "required": True},
            "network_config": {"type": "str", "required": True},
            "cmdline": {"type": "list", "elements": "str", "required": True},
            "image": {"type": "str", "required": True},
            "by_hand": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    login = Login.of(params["login"] | ({"fingerprint": ""} if module.check_mode else {}))
    user_data = without_login_key(params["user_data"])
    identity = instance_id(params["name"], user_data, params["network_config"], params["cmdline"], params["image"])
    meta = meta_data(
        identity,
        {
            "user-data": user_data,
            "network-config": params["network_config"],
            "cmdline": " ".join(params["cmdline"]),
            "image": params["image"],
        },
    )
    try:
        state, detail = board_state(query(login), identity, meta, params["by_hand"], login)
    except OSError as error:
        module.fail_json(msg=f"{error.filename or login.known_hosts}: {error.strerror}")
    module.exit_json(changed=False, state=state, detail=detail, instance_id=identity, meta_data=meta)


if __name__ == "__main__":
    main()
