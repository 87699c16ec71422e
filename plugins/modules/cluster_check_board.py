#!/usr/bin/python
"""Ansible module: what is wrong with this board's disks, units, mounts and certificates."""

# Runs on the board with the board's Python and nothing but the standard library.

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_check_board
short_description: Report what is wrong with the disks, units, mounts and certificates of a board
description:
  - Changes nothing. The base system, the clock and the Node are reported by other modules.
options:
  directories:
    description: Directories whose file systems must have room; absent ones are skipped.
    type: list
    elements: path
    required: true
  disk_percent:
    description: Percentage of room or inodes in use from which a file system is a problem.
    type: int
    default: 90
  k3s: {description: "The k3s binary.", type: path, required: true}
  data_dir: {description: "The data directory of k3s.", type: path, required: true}
  unit: {description: "The unit of k3s on this board.", type: str, choices: [k3s, k3s-agent], required: true}
  certificate_days: {description: "Days before its end from which a certificate is a problem.", type: int, default: 90}
  mount_timeout: {description: "Seconds in which a mounted share must answer.", type: int, default: 10}
  export: {description: "Directory that this board exports to the others; empty for none.", type: str, default: ''}
  export_uid: {description: "The user that notebooks are on the export.", type: int, default: 0}
  converted: {description: "What is left of an export that became a volume; empty for none.", type: str, default: ''}
author: Edge AI Cluster
"""

EXAMPLES = r"""
- edge_ai.cluster.cluster_check_board:
    directories: [/, /var/lib/rancher/k3s]
    k3s: /usr/local/bin/k3s
    data_dir: /var/lib/rancher/k3s
    unit: k3s-agent
"""

RETURN = r"""
problems: {description: "What is wrong and what to do, a sentence each.", type: list, elements: str, returned: always}
certificates_end:
  description: Day (ISO 8601) on which the first certificate ends; empty without k3s.
  type: str
  returned: always
disk_percent: {description: "Use of the fullest file system, in per cent.", type: int, returned: always}
kept:
  description: What a restore or a conversion has moved aside on this board, a sentence each with its size.
  type: list
  elements: str
  returned: always
"""

import contextlib
import heapq
import json
import os
import re
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils.backup.stream import is_aside
from ansible_collections.edge_ai.cluster.plugins.module_utils.command import LATE, run
from ansible_collections.edge_ai.cluster.plugins.module_utils.files import text_of
from ansible_collections.edge_ai.cluster.plugins.module_utils.mounts import NFS, Mount, mounts_of
from ansible_collections.edge_ai.cluster.plugins.module_utils.nfs.exports import ETAB, active_clients

#: File systems that stand on a card or a disk.
ON_DISK = ("btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "vfat", "xfs")
DAY_NS = 86400 * 10**9
#: What k3s waits for after a boot (role raspberry_pi).
TIME_WAIT = "systemd-time-wait-sync.service"
#: Of what playbooks move aside, the most that are measured, and seconds for each: notebooks may make some, of any size.
MOST_KEPT, MEASURED_S = 10, 20


def read_only(mounts: list[Mount]) -> list[str]:
    """File systems of a disk which the kernel, or a user, has made read-only; a device mounted twice counts once.

    Containers see some directories read-only: a device is one when no mount of it can be written.
    """
    on_disk = [mount for mount in mounts if mount.kind in ON_DISK and mount.source.startswith("/dev/")]
    writable = {mount.source for mount in on_disk if not {"ro", "emergency_ro"} & set(mount.options)}
    points: dict[str, str] = {}
    for mount in on_disk:
        if mount.source not in writable:
            points.setdefault(mount.source, mount.point)
    return [
        f"{point} ({source}) is read-only, as after errors of the card: see dmesg; back up, then put in a new card"
        for source, point in points.items()
    ]


def usage(path: str) -> tuple[int, int]:
    """Percentages of room and of inodes in use, as df counts them; 0 where a file system has no fixed number."""
    status = os.statvfs(path)
    used = status.f_blocks - status.f_bfree
    room = used + status.f_bavail
    inodes = status.f_files - status.f_ffree
    return (
        -(-100 * used // room) if room else 0,
        -(-100 * inodes // status.f_files) if status.f_files else 0,
    )


def recorded_errors(root: Path = Path("/sys/fs/ext4")) -> list[str]:
    """Devices whose ext4 file system has noted errors since it was last checked."""
    counts = {file.parent.name: file.read_text().strip() for file in root.glob("*/errors_count")}
    return [
        f"{name} has noted {count} file system error{'' if count == '1' else 's'}: see dmesg; back up, then check the "
        "card with e2fsck or replace it"
        for name, count in sorted(counts.items())
        if count not in ("", "0")
    ]


def ending(listed: dict[str, Any], days: int) -> tuple[list[str], str]:
    """Problems of the answer to `k3s certificate check --output json`, and the day on which the first leaf ends.

    A file's first certificate is the leaf, those after it are CAs.
    """
    leaves: dict[str, dict[str, Any]] = {}
    for each in listed.get("Certificates") or []:
        leaves.setdefault(each["Filename"], each)
    if not leaves:
        return [], ""
    # k3s has the day on which they begin in the place of the one on which they end.
    future = [each for each in leaves.values() if each.get("Status") == "NOT YET VALID"]
    if future:
        return [
            f"certificate {future[0]['Filename']} is not valid before {str(future[0]['ExpiryTime'])[:10]}: this clock "
            "is behind, or one was ahead when the cluster was made; see timedatectl on all boards"
        ], ""
    first = min(leaves.values(), key=lambda each: int(each["ResidualTime"]))
    left = int(first["ResidualTime"]) // DAY_NS
    end = str(first["ExpiryTime"])[:10]
    if left >= days:
        return [], end
    what = f"ended on {end}" if left < 0 else f"ends on {end}, in {left} days"
    advice = "run ansible-playbook site.yml, which restarts k3s so that it renews them"
    return [f"certificate {first['Filename']} {what}: {advice}"], end


def hung(mounts: list[Mount], timeout: int) -> list[str]:
    """Mounted shares that do not answer in time, or answer with an error such as a stale handle; each share once."""
    problems = {}
    for mount in mounts:
        if mount.kind in NFS and mount.source not in problems:
            status = run("stat", "--file-system", "--", mount.point, timeout=timeout).status
            if status:
                how = f"does not answer within {timeout} s" if status == LATE else "answers with an error"
                problems[mount.source] = (
                    f"the share {mount.source} {how} at {mount.point}: check the NFS server, then delete "
                    "the pod that uses it"
                )
    return list(problems.values())


def failed_units(unit: str) -> list[str]:
    """Units of systemd that failed, and k3s's own when it is not active."""
    listed = run("systemctl", "list-units", "--failed", "--plain", "--no-legend", "--full", timeout=20).output
    failed = [line.split()[0] for line in listed.splitlines() if line.split()]
    if (
        TIME_WAIT in failed
        and run("timedatectl", "show", "--property=NTPSynchronized", "--value", timeout=20).output.strip() == "yes"
    ):
        # The time came after the wait for it, which is over until the next boot.
        failed.remove(TIME_WAIT)
    problems = [f"unit {name} has failed: systemctl status {name}" for name in failed if name != f"{unit}.service"]
    state = run("systemctl", "is-active", unit, timeout=20).output.strip()
    if state != "active":
        problems.append(f"unit {unit} is {state or 'unknown'}: journalctl -u {unit} there, then run site.yml")
    return problems


def certificates(params: dict[str, Any]) -> tuple[list[str], str]:
    """What `ending` returns; that k3s does not say when they end is a problem, too."""
    argv = [params["k3s"], "certificate", "check", "--data-dir", params["data_dir"], "--output", "json"]
    done = run(*argv)
    try:
        if done.status == 0:
            return ending(json.loads(done.output), params["certificate_days"])
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    how = f"exit status {done.status}" if done.status else "no answer that can be read"
    return [f"it is not known when its certificates end ({how}): {' '.join(argv)}"], ""


def export_problems(export: Path, uid: int, etab: str) -> list[str]:
    """Why notebooks could not write to the export of this board, though they read it."""
    try:
        status = export.stat()
    except OSError as error:
        return [f"{export} cannot be read ({error.strerror}): run ansible-playbook site.yml"]
    problems = []
    if status.st_uid != uid or status.st_mode & 0o700 != 0o700:
        problems.append(
            f"notebooks, which are user {uid}, cannot write to {export}: it belongs to {status.st_uid} with mode "
            f"{status.st_mode & 0o7777:04o}: chown {uid} {export}; chmod u+rwx {export}"
        )
    clients = active_clients(etab, str(export))
    if not clients:
        problems.append(f"{export} is not exported: run ansible-playbook site.yml --tags storage, see exportfs -v")
    elif closed := [each.partition("(")[0] for each in clients if "rw" not in re.split("[(,)]", each)]:
        problems.append(f"{export} is exported read-only to {', '.join(closed)}: see exportfs -v and /etc/exports.d")
    return problems


def kept(data_dir: Path, export: Path | None, converted: Path | None) -> list[str]:
    """What was moved aside, by name, with its size in MB and how to remove it. Never deleted by itself: it is data.

    It is the datastore, shared data and, as `converted`, an export that became a volume.
    """
    found: list[Path] = []
    for folder in [data_dir, *([export] if export else [])]:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            names = (each.name for each in entries if is_aside(each.name) and each.is_dir(follow_symlinks=False))
            found += [folder / name for name in heapq.nlargest(MOST_KEPT, names)]
    if converted and converted.is_dir() and not converted.is_symlink():
        found.append(converted)
    texts = []
    for path in found:
        du = run("du", "--summarize", "--block-size=1M", "--one-file-system", "--", str(path), timeout=MEASURED_S)
        size = re.match(r"\d+(?=\t)", du.output)
        what = f"{size[0]} MB" if size else f"not measured within {MEASURED_S} s"
        texts.append(f"{path} is kept from before ({what}): when nothing is missing, sudo rm -r {path}")
    return texts


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "directories": {"type": "list", "elements": "path", "required": True},
            "disk_percent": {"type": "int", "default": 90},
            "k3s": {"type": "path", "required": True},
            "data_dir": {"type": "path", "required": True},
            "unit": {"type": "str", "choices": ["k3s", "k3s-agent"], "required": True},
            "certificate_days": {"type": "int", "default": 90},
            "mount_timeout": {"type": "int", "default": 10},
            "export": {"type": "str", "default": ""},
            "export_uid": {"type": "int", "default": 0},
            "converted": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    params = module.params
    mounts = mounts_of(Path("/proc/self/mounts").read_text())
    problems = read_only(mounts) + recorded_errors()
    fullest = 0
    # Directories of one file system would say the same twice.
    seen = set()
    for path in params["directories"]:
        if not Path(path).is_dir() or (device := Path(path).stat().st_dev) in seen:
            continue
        seen.add(device)
        for percent, what in zip(usage(path), ("full", "out of inodes"), strict=True):
            fullest = max(fullest, percent)
            if percent >= params["disk_percent"]:
                problems.append(f"the file system of {path} is {percent} % {what}: du -xh {path} | sort -h | tail")
    problems += failed_units(params["unit"]) + hung(mounts, params["mount_timeout"])
    if params["export"]:
        problems += export_problems(Path(params["export"]), params["export_uid"], text_of(ETAB))
    expiring, end = certificates(params)
    export, converted = (Path(params[name]) if params[name] else None for name in ("export", "converted"))
    aside = kept(Path(params["data_dir"]), export, converted)
    module.exit_json(problems=problems + expiring, certificates_end=end, disk_percent=fullest, kept=aside)


if __name__ == "__main__":
    main()
