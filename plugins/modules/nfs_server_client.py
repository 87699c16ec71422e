#!/usr/bin/python
"""Ansible module: add addresses to the NFS export, or remove them. Runs on the NFS server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nfs_server_client
short_description: Add addresses to the NFS export, or remove them
description:
  - Edits the role's own exports file, and has the server read it again. Mounts of other clients are not disturbed.
  - An address that was removed is recorded in the file, so that the role leaves a spare board out until it joins.
options:
  exports_file: {description: "The role's own file in exports.d.", type: path, required: true}
  addresses: {description: "Addresses of boards.", type: list, elements: str, required: true}
  state: {description: "Whether they may mount.", type: str, choices: [present, absent], required: true}
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.nfs_server_client:
    exports_file: /etc/exports.d/edge-ai-cluster.exports
    addresses: [192.168.1.15]
    state: absent
"""
RETURN = r"""
clients: {description: "Addresses that may mount now.", type: list, returned: always}
wide: {description: "Networks in the file that hold one of the addresses.", type: list, returned: always}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils.command import run
from ansible_collections.edge_ai.cluster.plugins.module_utils.files import text_of, write_text
from ansible_collections.edge_ai.cluster.plugins.module_utils.nfs.exports import ETAB, active_clients, exported_path
from ansible_collections.edge_ai.cluster.plugins.module_utils.nfs.scope import Scope


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "exports_file": {"type": "path", "required": True},
            "addresses": {"type": "list", "elements": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "required": True},
        },
        supports_check_mode=True,
    )
    path = Path(module.params["exports_file"])
    try:
        old = path.read_text()
    except FileNotFoundError:
        if module.params["state"] == "absent":
            module.exit_json(changed=False, clients=[], wide=[], msg="nothing is exported")
        module.fail_json(msg=f"{path} does not exist: create the export first (site.yml --tags storage)")
    try:
        scope = Scope.parse(old)
    except ValueError as error:
        module.fail_json(msg=f"{path}: {error}: write it again with site.yml --tags storage")
    # A run that was interrupted between the two wrote the file, and the server has not read it.
    active = active_clients(text_of(ETAB), exported_path(scope.path))
    unread = sorted(client.partition("(")[0] for client in active) != sorted(scope.clients)
    addresses, present = module.params["addresses"], module.params["state"] == "present"
    changed = scope.admit(addresses) if present else scope.leave_out(addresses)
    new = scope.text() if changed else old
    if (changed or unread) and not module.check_mode:
        if changed:
            write_text(path, new)
        done = run("exportfs", "-ra")
        if done.status:
            # The old text is still in effect; a second run has to see that something is left to do.
            write_text(path, old)
            module.fail_json(msg=f"exportfs -ra: {(done.errors or done.output).strip()}; {path} was not changed")
    module.exit_json(
        changed=changed or unread,
        clients=scope.clients,
        wide=scope.networks_with(addresses),
        diff={"before": old, "after": new, "before_header": str(path), "after_header": str(path)},
    )


if __name__ == "__main__":
    main()
