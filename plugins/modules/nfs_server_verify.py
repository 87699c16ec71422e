#!/usr/bin/python
"""Ansible module: mount an export, write as root, read back, and clean up. Runs on a client."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nfs_server_verify
short_description: Verify that the export works for this client and squashes root
description:
  - Mounts the export in a directory of its own, writes a file as root, checks its owner, and removes both.
options:
  server: {description: "Address of the server.", type: str, required: true}
  uid: {description: "Owner that a file written by root must get.", type: int, required: true}
  gid: {description: "Its group.", type: int, required: true}
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.nfs_server_verify:
    server: 192.168.1.11
    uid: 10001
    gid: 10001
"""
RETURN = r"""
seconds: {description: "How long it took.", type: float, returned: success}
"""

import errno
import os
import secrets
import shutil
import tempfile
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils.command import LATE, run
from ansible_collections.edge_ai.cluster.plugins.module_utils.network import source_address

#: Seconds for each step.
TIMEOUT = 60


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "server": {"type": "str", "required": True},
            "uid": {"type": "int", "required": True},
            "gid": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    server = module.params["server"]
    if module.check_mode:
        module.exit_json(changed=False, msg="not mounted in check mode")
    if not shutil.which("mount.nfs4"):
        module.fail_json(msg="mount.nfs4 is missing on this board: install the package nfs-common")
    started = time.monotonic()
    mountpoint = Path(tempfile.mkdtemp(prefix="nfs-verify-"))
    mounted, problem = False, ""
    # soft: if the server does not answer, this probe gives up; pods mount hard, as they should.
    options = "vers=4.2,soft,timeo=50,retrans=2,noac,nosuid,nodev,noexec"
    try:
        done = run("mount", "-t", "nfs4", "-o", options, f"{server}:/", str(mountpoint), timeout=TIMEOUT)
        if done.status == LATE:
            problem = f"does not answer within {TIMEOUT} s"
        elif done.status:
            # A board with Wi-Fi in the same network may ask from an address that no export names.
            problem = f"cannot be mounted from {source_address(server) or 'no address'}: {done.errors.strip()}"
        else:
            mounted = True
            # A random name, at which no other client can have put a link: it would be followed on this board, by root.
            probe = mountpoint / f".verify-{secrets.token_hex(16)}"
            content = os.urandom(4096)
            try:
                with probe.open("x+b", buffering=0) as file:
                    file.write(content)
                    os.fsync(file.fileno())
                    # What is read next comes from the server, not from this board's cache.
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                    owner, found = os.fstat(file.fileno()), os.pread(file.fileno(), len(content) + 1, 0)
                if found != content:
                    problem = "returns something else than what was written"
                elif (owner.st_uid, owner.st_gid) != (module.params["uid"], module.params["gid"]):
                    problem = f"does not squash root: a file got the owner {owner.st_uid}:{owner.st_gid}"
            finally:
                probe.unlink(missing_ok=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            # It can be read, and enlarged by the next run.
            module.warn(f"the export {server}:/ is full: delete what is not needed there, or raise nfs_server_size")
        else:
            problem = f"cannot be used: {error.strerror}"
    finally:
        if mounted:
            run("umount", "-f", "-l", str(mountpoint), timeout=TIMEOUT)
        if not mountpoint.is_mount():
            mountpoint.rmdir()
    if problem:
        module.fail_json(
            msg=f"the export {server}:/ {problem}. Check `exportfs -v` and `journalctl -u nfs-server` on the server, "
            f"the owner of the exported directory, and whether port 2049 is reachable"
        )
    seconds = round(time.monotonic() - started, 1)
    module.exit_json(changed=False, seconds=seconds, msg=f"mounted, written, read back and unmounted in {seconds} s")


if __name__ == "__main__":
    main()
