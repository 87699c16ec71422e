#!/usr/bin/python
"""Ansible module: generate keys of the control node and of every board, before a board exists."""

from __future__ import annotations

DOCUMENTATION = r"""
module: flash_keys
short_description: Generate the SSH key, host keys and known_hosts on the control node
description:
  - Generates login keys in O(directory), and one ed25519 host key for each board; existing keys are never replaced.
  - Updates known_hosts for all boards with such a key. Entries of other machines are kept, as are those of
    boards that were flashed by hand since.
  - A host key that known_hosts has for a board's name is that board's at a changed address, too.
options:
  directory: {description: "Directory of secrets; created with mode 0700.", type: path, required: true}
  ssh_keys: {description: "Login key of each board of this run that has a card.", type: dict, required: true}
  known_hosts: {description: "File to update.", type: path, required: true}
  names: {description: "Names and addresses of every board of the inventory.", type: dict, required: true}
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.flash_keys:
    directory: secrets/home
    ssh_keys: {pi-01: secrets/home/id_ed25519}
    known_hosts: secrets/home/known_hosts
    names: {pi-01: [192.168.1.11, pi-01]}
"""
RETURN = r"""
public_keys: {description: "The public half of each board's login key.", type: dict, returned: always}
"""

import os
import subprocess
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils.files import settle, write_text
from ansible_collections.edge_ai.cluster.plugins.module_utils.flash.hostkeys import key_of, known_hosts_text


def make_key(path: Path, comment: str) -> None:
    """A new ed25519 key; renamed to its final name when complete (a run may be killed at any moment)."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    part.with_name(f"{part.name}.pub").unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(part)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    settle(part.with_name(f"{part.name}.pub"), path.with_name(f"{path.name}.pub"))
    settle(part, path)


def public_half(key: Path) -> str:
    """The public key of a private one, from the private one: a lost .pub file does not matter.

    Only with a passphrase the .pub file is what there is.
    """
    beside = key if key.suffix == ".pub" else key.with_name(f"{key.name}.pub")
    if key.suffix != ".pub":
        command = ["ssh-keygen", "-y", "-P", "", "-f", str(key)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode == 0:
            return result.stdout.strip()
        if "incorrect passphrase" not in result.stderr or not beside.exists():
            raise ValueError(
                f"{key} is not a usable key ({result.stderr.strip()}): replace it with the right one; one with a "
                f"passphrase needs {beside.name} beside it"
            )
    return beside.read_text().strip()


def has_entry(known_hosts: str, names: list[str]) -> bool:
    """Whether a text of known_hosts has a line for these names together."""
    return any(set(names) <= set(line.split()[0].split(",")) for line in known_hosts.splitlines() if line.strip())


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "ssh_keys": {"type": "dict", "required": True, "no_log": False},
            "known_hosts": {"type": "path", "required": True},
            "names": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    directory, names = Path(module.params["directory"]), module.params["names"]
    known_hosts = Path(module.params["known_hosts"])
    logins = {host: Path(os.path.expanduser(key)) for host, key in module.params["ssh_keys"].items()}  # noqa: PTH111
    nameless = sorted(host for host, key in module.params["ssh_keys"].items() if not key)
    if nameless:
        module.fail_json(
            msg=f"{', '.join(nameless)}: a card is to be written, but there is no ansible_ssh_private_key_file: "
            f"write {directory}/id_ed25519, which is generated, or a key of your own"
        )
    host_keys = directory / "ssh_host_keys"
    wanted = {host: host_keys / host / "ssh_host_ed25519_key" for host in logins}
    to_make = sorted({key for key in logins.values() if not key.exists()})
    for key in to_make:
        if not key.is_relative_to(directory):
            module.fail_json(
                msg=f"{key} does not exist: correct ansible_ssh_private_key_file, or generate the key "
                f"(ssh-keygen -t ed25519 -f {key})"
            )
    missing = [f"login key {key}" for key in to_make]
    missing += [f"host key of {host}" for host, key in wanted.items() if not key.exists()]
    if module.check_mode and missing:
        public = dict.fromkeys(logins, "(not generated yet)")
        module.exit_json(changed=True, msg=f"would generate: {', '.join(missing)}", public_keys=public)
    os.umask(0o077)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if directory.stat().st_mode & 0o077 and not module.check_mode:
            directory.chmod(0o700)
        for key in to_make:
            key.parent.mkdir(parents=True, exist_ok=True)
            make_key(key, "edge-ai-cluster")
        for host, key in wanted.items():
            if not key.exists():
                key.parent.mkdir(parents=True, exist_ok=True)
                make_key(key, host)
        old = known_hosts.read_text() if known_hosts.exists() else ""
        keys = {}
        for host in sorted(names):
            made = host_keys / host / "ssh_host_ed25519_key"
            if host in wanted:
                keys[host] = public_half(made)
            # A board that has no card in this run may have been flashed by hand since its key was made.
            elif not has_entry(old, names[host]):
                known = key_of(old, names[host][-1])
                if known or made.exists():
                    keys[host] = known or public_half(made)
        new = known_hosts_text(old, keys, names)
        if new != old and not module.check_mode:
            write_text(known_hosts, new, 0o600)
        # Most boards, or all, have the same.
        halves = {key: public_half(key) for key in set(logins.values())}
        public = {host: halves[key] for host, key in logins.items()}
    except FileNotFoundError as error:
        module.fail_json(msg=f"{error.filename} is missing on the control node: install the package openssh-client")
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    except subprocess.CalledProcessError as error:
        module.fail_json(msg=f"ssh-keygen failed: {error.stderr.strip()}")
    made = f"generated: {', '.join(missing)}" if missing else "all keys exist"
    module.exit_json(changed=bool(missing) or new != old, msg=made, public_keys=public)


if __name__ == "__main__":
    main()
