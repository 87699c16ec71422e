#!/usr/bin/python
"""Ansible module: generate keys of the control node and of every board, before a board exists."""

from __future__ import annotations

DOCUMENTATION = r"""
module: flash_keys
short_description: Generate the SSH key, host keys and known_hosts on the control node
description:
  - Generates the login key and one ed25519 host key for each board, once; existing keys are never replaced.
  - Updates known_hosts for all boards with such a key. Entries of other machines are kept.
options:
  directory: {description: "Directory of secrets; created with mode 0700.", type: path, required: true}
  ssh_key: {description: "Login key; generated if missing.", type: path, required: true}
  known_hosts: {description: "File to update.", type: path, required: true}
  hosts: {description: "Boards of this run, which get a host key.", type: list, elements: str, required: true}
  names: {description: "Names and addresses of every board of the inventory.", type: dict, required: true}
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.flash_keys:
    directory: secrets/home
    ssh_key: secrets/home/id_ed25519
    known_hosts: secrets/home/known_hosts
    hosts: [pi-01]
    names: {pi-01: [192.168.1.11, pi-01]}
"""
RETURN = r"""
public_key: {description: "The login key's public half.", type: str, returned: always}
"""

import os
import subprocess
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils.files import write_text


def make_key(path: Path, comment: str) -> None:
    """A new ed25519 key; renamed to its final name when complete (a run may be killed at any moment)."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    part.with_name(f"{part.name}.pub").unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(part)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    part.with_name(f"{part.name}.pub").rename(path.with_name(f"{path.name}.pub"))
    part.rename(path)


def public_half(key: Path) -> str:
    """The public key of a private one, from the private one: a lost .pub file does not matter."""
    result = subprocess.run(["ssh-keygen", "-y", "-P", "", "-f", str(key)], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise ValueError(
            f"{key} is not a usable key without passphrase ({result.stderr.strip()}): "
            f"replace it with the right one, or delete it and a new one is generated"
        )
    return result.stdout.strip()


def known_hosts_text(old: str, keys: dict[str, str], names: dict[str, list[str]]) -> str:
    """All boards' entries, sorted, with the entries of unrelated machines kept."""
    ours = {name for host in keys for name in names.get(host, [host])}
    kept = [
        line
        for line in old.splitlines()
        if line.strip() and not line.startswith("#") and not ours & set(line.split()[0].split(","))
    ]
    lines = [f"{','.join(names.get(host, [host]))} {' '.join(key.split()[:2])}" for host, key in keys.items()]
    return "\n".join(sorted(set(kept + lines))) + "\n"


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "ssh_key": {"type": "path", "required": True, "no_log": False},
            "known_hosts": {"type": "path", "required": True},
            "hosts": {"type": "list", "elements": "str", "required": True},
            "names": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    directory, login = Path(module.params["directory"]), Path(module.params["ssh_key"])
    known_hosts = Path(module.params["known_hosts"])
    host_keys = directory / "ssh_host_keys"
    wanted = {host: host_keys / host / "ssh_host_ed25519_key" for host in module.params["hosts"]}
    missing = [f"host key of {host}" for host, key in wanted.items() if not key.exists()]
    if not login.exists():
        missing.insert(0, f"login key {login}")
    if module.check_mode and missing:
        module.exit_json(changed=True, msg=f"would generate: {', '.join(missing)}", public_key="(not generated yet)")
    os.umask(0o077)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if directory.stat().st_mode & 0o077 and not module.check_mode:
            directory.chmod(0o700)
        if not login.exists():
            login.parent.mkdir(parents=True, exist_ok=True)
            make_key(login, "edge-ai-cluster")
        for host, key in wanted.items():
            if not key.exists():
                key.parent.mkdir(parents=True, exist_ok=True)
                make_key(key, host)
        keys = {
            host: public_half(host_keys / host / "ssh_host_ed25519_key")
            for host in sorted(module.params["names"])
            if (host_keys / host / "ssh_host_ed25519_key").exists()
        }
        old = known_hosts.read_text() if known_hosts.exists() else ""
        new = known_hosts_text(old, keys, module.params["names"])
        if new != old and not module.check_mode:
            write_text(known_hosts, new, 0o600)
        public = public_half(login)
    except FileNotFoundError as error:
        module.fail_json(msg=f"{error.filename} is missing on the control node: install the package openssh-client")
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    except subprocess.CalledProcessError as error:
        module.fail_json(msg=f"ssh-keygen failed: {error.stderr.strip()}")
    made = f"generated: {', '.join(missing)}" if missing else "all keys exist"
    module.exit_json(changed=bool(missing) or new != old, msg=made, public_key=public)


if __name__ == "__main__":
    main()
