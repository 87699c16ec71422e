#!/usr/bin/python
"""Ansible module: rotate the server token of a running cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: k3s_token_rotate
short_description: Change the server token of a running k3s cluster
description:
  - Runs on a server. Does what C(k3s token rotate) does, by the same request to the supervisor of this machine,
    because that command takes the new token as an argument, which other processes and the journal see.
  - Afterwards every server needs the new token in its configuration before its next start.
options:
  data_dir: {description: Data directory of k3s., type: path, required: true}
  port: {description: Port of the supervisor., type: int, required: true}
  new: {description: The new token in its short form., type: str, required: true}
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.k3s_token_rotate:
    data_dir: /var/lib/rancher/k3s
    port: 6443
    new: "{{ lookup('ansible.builtin.file', 'secrets/home/k3s-token.new') }}"
"""
RETURN = r"""
msg: {description: What was done., type: str, returned: always}
"""

import base64
import json
import urllib.error
import urllib.request
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s import local, token


def request(port: int, password: str, new: str) -> urllib.request.Request:
    """The rotation as the supervisor understands it: the present server token is the credential."""
    credential = base64.b64encode(f"server:{password}".encode()).decode()
    return urllib.request.Request(
        f"https://127.0.0.1:{port}/v1-k3s/token",
        data=json.dumps({"newToken": new}).encode(),
        method="PUT",
        headers={"Authorization": f"Basic {credential}", "Content-Type": "application/json"},
    )


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "data_dir": {"type": "path", "required": True},
            "port": {"type": "int", "required": True},
            "new": {"type": "str", "required": True, "no_log": True},
        },
        supports_check_mode=True,
    )
    server, new = Path(module.params["data_dir"]) / "server", module.params["new"].strip()
    if not (server / "token").exists():
        module.fail_json(msg=f"{server}/token is missing: this machine has no k3s server with a cluster")
    password = token.password((server / "token").read_text())
    if password == new:
        module.exit_json(changed=False, msg="the server has this token already")
    if module.check_mode:
        module.exit_json(changed=True, msg="the server would get another token")
    here = local.opener(str(server / "tls/server-ca.crt"))
    try:
        here.open(request(module.params["port"], password, new), timeout=60).close()
    except urllib.error.HTTPError as error:
        reason = error.read(2000).decode(errors="replace").strip()
        module.fail_json(msg=f"the server refuses the new token ({error.code}): {reason}. See journalctl -u k3s")
    except OSError as error:
        module.fail_json(
            msg=f"the supervisor on port {module.params['port']} does not answer ({error}): start k3s, then run again"
        )
    if token.password((server / "token").read_text()) != new:
        module.fail_json(msg=f"{server}/token is not the new token, which the server accepted: see journalctl -u k3s")
    module.exit_json(changed=True, msg="the server has the new token; restart it with the new one in its configuration")


if __name__ == "__main__":
    main()
