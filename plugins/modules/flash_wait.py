#!/usr/bin/python
"""Ansible module: wait until a board is running with its card's identity, and cloud-init has finished."""

from __future__ import annotations

DOCUMENTATION = r"""
module: flash_wait
short_description: Wait for verified ssh, for cloud-init or for power-off
description:
  - Runs on the control node. Changes nothing. Timeouts report what was waited for and what to check.
options:
  name: {description: "Host name of the board.", type: str, required: true}
  login:
    description: address, port, user, key, known_hosts, args (a text), names in known_hosts, fingerprint.
    type: dict
    required: true
  until: {description: "What to wait for.", type: str, choices: [ssh, cloud-init, off], required: true}
  timeout: {description: "Seconds.", type: int, required: true}
  instance_id: {description: "Identity the board must have; empty for one flashed by hand.", type: str, default: ""}
  harmless: {description: "Regular expressions of warnings that are not shown.", type: list, elements: str, default: []}
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.flash_wait:
    name: pi-01
    login: {address: 192.168.1.11, port: 22, user: pi, key: id_ed25519, known_hosts: known_hosts}
    until: ssh
    timeout: 300
  delegate_to: localhost
"""
RETURN = r"""
seconds: {description: "How long it took.", type: float, returned: success}
"""

import json
import re
import subprocess
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils.flash.ssh import (
    MOST,
    Login,
    advice,
    port_open,
    query,
    rejects_host_key,
    run,
    said,
)

HINT = (
    "its power, its network cable and its card (a screen on HDMI shows the boot), "
    "that no other machine has its address, and that the address is in the control node's network"
)


def reflash(name: str) -> str:
    """What to do about a board whose first boot failed."""
    return (
        f"If its first boot failed, power it off and on, which repeats it, or write its card again, which erases it: "
        f"ansible-playbook playbooks/flash.yml -l {name} -e flash_reflash={name}"
    )


def wait_for_ssh(module: AnsibleModule, login: Login, deadline: float) -> None:
    """Return once a login works and the identity is right; waits while the port is closed or the board boots."""
    name, wanted = module.params["name"], module.params["instance_id"]
    while True:
        seen = query(login, connect_timeout=3)
        if seen.reached and not seen.error:
            if wanted and seen.instance_id and seen.instance_id != wanted:
                module.fail_json(
                    msg=f"{name} ({login.address}) runs {seen.instance_id} instead of {wanted}: "
                    f"the wrong card is in the board, or two boards have the same address"
                )
            return
        # One that was flashed by hand has its host key before it has ssh; another key does not become this one.
        if time.monotonic() > deadline or (not wanted and rejects_host_key(seen.error)):
            hint = advice(seen.error, login) if seen.reached else HINT
            if wanted:
                hint = f"{hint}. {reflash(name)}"
            elif not seen.reached:
                hint = f"that its card was written (flash_card is empty, or flash_keep contains it); {hint}"
            module.fail_json(
                msg=f"{name} ({login.address}): no ssh login as {login.user} within "
                f"{module.params['timeout']} s; last error: {seen.error}. Check: {hint}"
            )
        time.sleep(0.5)


def wait_for_off(module: AnsibleModule, login: Login, deadline: float) -> None:
    """Return once the ssh port is closed."""
    while port_open(login, 2):
        if time.monotonic() > deadline:
            module.fail_json(
                msg=f"{module.params['name']} ({login.address}) is still running {module.params['timeout']} s after "
                f"flash_power_off_command: check that command"
            )
        time.sleep(0.5)


def cloud_init_problems(status: dict[str, Any], returncode: int) -> tuple[list[str], list[str]]:
    """(errors, warnings) of `cloud-init status --format json` and its exit status: 0 done, 1 crashed, 2 recovered."""
    errors = [said(error) for error in list(status.get("errors") or [])[:MOST]]
    recovered = status.get("recoverable_errors") or {}
    warnings = [said(text) for texts in recovered.values() for text in texts]
    if returncode not in (0, 2) and not errors:
        errors = [f"cloud-init ended with {returncode}, status {said(status.get('status', 'unknown'))}"]
    return errors, warnings[:MOST]


def wait_for_cloud_init(module: AnsibleModule, login: Login, deadline: float) -> None:
    """Return once cloud-init is done without errors; a board that reboots meanwhile is waited for."""
    name, timeout = module.params["name"], module.params["timeout"]
    last, remedy = "no response", reflash(name) if module.params["instance_id"] else ""
    while time.monotonic() < deadline:
        try:
            result = run(
                login,
                "command -v cloud-init >/dev/null || { echo NONE; exit 0; }; cloud-init status --wait >/dev/null 2>&1; "
                'cloud-init status --format json; echo "rc=$?"',
                timeout=max(deadline - time.monotonic(), 1),
            )
        except subprocess.TimeoutExpired:
            break
        if result.stdout.strip() == "NONE":
            return
        text, _, code = result.stdout.rpartition("rc=")
        if not (code.isascii() and code.strip().isdigit()):
            last = said(result.stderr) or "the connection was lost"
            time.sleep(1)
            continue
        try:
            errors, warnings = cloud_init_problems(json.loads(text), int(code))
        except (ValueError, AttributeError, TypeError, RecursionError):
            last = f"its status is not valid: {said(text[:200])}"
            time.sleep(1)
            continue
        if errors:
            module.fail_json(
                msg=f"cloud-init failed on {name} ({login.address}): {'; '.join(errors)}. "
                f"Check /var/log/cloud-init.log and /var/log/cloud-init-output.log on it. {remedy}",
                errors=errors,
            )
        for warning in warnings:
            if not any(re.search(known, warning) for known in module.params["harmless"]):
                module.warn(f"cloud-init on {name}: {warning}")
        if module.params["instance_id"] and (keys := query(login).keys_on_card):
            module.fail_json(
                msg=f"{name} ({login.address}): {keys} has a private key, and all its users can read "
                f"it; the last commands of the first boot must delete it. Check /var/log/cloud-init-output.log on it. "
                f"{remedy}"
            )
        return
    module.fail_json(
        msg=f"cloud-init on {name} ({login.address}) did not finish within {timeout} s; last error: {last}. "
        f"Check `cloud-init status --long` and /var/log/cloud-init-output.log on it. {remedy}"
    )


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "login": {"type": "dict", "required": True},
            "until": {"type": "str", "choices": ["ssh", "cloud-init", "off"], "required": True},
            "timeout": {"type": "int", "required": True},
            "instance_id": {"type": "str", "default": ""},
            "harmless": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    login = Login.of(module.params["login"])
    until = module.params["until"]
    if module.check_mode:
        module.exit_json(changed=False, seconds=0.0, msg="check mode does not wait")
    started = time.monotonic()
    waits = {"ssh": wait_for_ssh, "cloud-init": wait_for_cloud_init, "off": wait_for_off}
    try:
        waits[until](module, login, started + module.params["timeout"])
    except OSError as error:
        # The host key that the operator confirmed could not be written down, as on a full disk.
        module.fail_json(
            msg=f"{error.filename or login.known_hosts}: {error.strerror}: check the disk of the control node"
        )
    seconds = round(time.monotonic() - started, 1)
    done = {"ssh": "reachable", "cloud-init": "finished", "off": "off"}[until]
    module.exit_json(changed=False, seconds=seconds, msg=f"{done} after {seconds} s")


if __name__ == "__main__":
    main()
