"""Inspect the export on the NFS server: which files differ, and which run of the given inputs is complete."""

from __future__ import annotations

DOCUMENTATION = """
module: notebooks_state
short_description: Gather the state of notebooks, data set and runs in an exported directory
description:
  - Reads only. Runs on the NFS server, with the rights of the directory's owner.
  - The content is written by notebooks. An invalid run is ignored with a warning.
options:
  export: {description: The exported directory., type: path, required: true}
  files: {description: Path below the export to the expected SHA-256., type: dict, required: true}
  inputs_digest: {description: Digest of the inputs whose complete run is searched., type: str, required: true}
  keep: {description: How many of the newest runs are kept; 0 keeps all., type: int, default: 0}
  fetched: {description: A run that is kept too., type: str, default: ''}
"""
RETURN = """
differing:
  description: Paths of files that are missing or have another digest.
  returned: always
  type: list
complete:
  description: >-
    The newest complete run of these inputs (run, inputs_digest, archive_sha256, durations); empty when there is none.
  returned: always
  type: dict
candidates:
  description: The newest complete runs of these inputs, at most 50; the first is C(complete).
  returned: always
  type: list
newest:
  description: The newest complete run of any inputs; empty when there is none.
  returned: always
  type: dict
computed:
  description: For the records of `complete`, or else of `newest`, [host, inputs_digest] each.
  returned: always
  type: list
refused:
  description: What was ignored, and why.
  returned: always
  type: list
surplus:
  description: Names of the runs beyond O(keep), oldest first; never the newest complete one.
  returned: always
  type: list
room:
  description: >-
    Bytes of the file system of the export that files can have in all, and those that are free; and how many more files
    it can have, however small (entries).
  returned: always
  type: dict
durations:
  description: Seconds that each notebook took in the newest complete run of any inputs.
  returned: always
  type: dict
"""

import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils import shared_data
from ansible_collections.edge_ai.cluster.plugins.module_utils.runs import surplus
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import OutOfTime, Refused

#: Longest file of the notebooks and of the data set that is compared (bytes).
FILE_BYTES = 64 << 20
#: How many runs the control node may try if the newest is unusable.
CANDIDATES = 50
#: Maximum number of messages about what was ignored.
MESSAGES = 20


def differing(export: Path, files: dict[str, str]) -> list[str]:
    """Paths below `export` whose file is missing, is not a regular file, or has another SHA-256 than the given one."""
    wrong = []
    for name, digest in sorted(files.items()):
        try:
            if shared_data.digest(export, name, FILE_BYTES) == digest:
                continue
        except (Refused, OSError):
            pass
        wrong.append(name)
    return wrong


def computed(export: Path, run: str) -> list[list[str]]:
    """[host, inputs_digest] of each record of a run; none when it has no timings. Raises Refused."""
    name = f"runs/{run}/timings.json"
    try:
        records = shared_data.read_json(export, name)
    except FileNotFoundError:
        return []
    what = str(export / name)
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise Refused(f"{shared_data.printable(what)}: is not a list of records")
    return [
        [
            shared_data.text(record.get("host"), shared_data.NODE_NAME, f"{what}: host"),
            shared_data.text(record.get("inputs_digest"), shared_data.DIGEST, f"{what}: inputs_digest"),
        ]
        for record in records
    ]


def room(export: Path) -> dict[str, int]:
    """Bytes that files of the export can have in all, as df counts them, and those that are free for notebooks; and
    how many more files it can have.
    """
    found = os.statvfs(export)
    return {
        "total": (found.f_blocks - found.f_bfree + found.f_bavail) * found.f_frsize,
        "free": found.f_bavail * found.f_frsize,
        # Some file systems make room for as many as are needed, and say 0 of 0.
        "entries": found.f_favail if found.f_files else 1 << 40,
    }


def state(export: Path, files: dict[str, str], inputs_digest: str, keep: int = 0, fetched: str = "") -> dict[str, Any]:
    """The result of the module. Raises Refused."""
    runs, refused = shared_data.complete_runs(export)
    same = [run for run in runs if run["inputs_digest"] == inputs_digest]
    records: list[list[str]] = []
    if runs:
        try:
            records = computed(export, (same or runs)[0]["run"])
        except Refused as error:
            refused.append(str(error))
    return {
        "differing": differing(export, files),
        "complete": same[0] if same else {},
        "candidates": same[:CANDIDATES],
        "newest": runs[0] if runs else {},
        "computed": records,
        "surplus": surplus(export, {fetched, *(each["run"] for each in runs[:1])}, keep),
        "room": room(export),
        "durations": runs[0]["durations"] if runs else {},
        "refused": refused[:MESSAGES] + ([f"and {len(refused) - MESSAGES} more"] if len(refused) > MESSAGES else []),
    }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "export": {"type": "path", "required": True},
            "files": {"type": "dict", "required": True},
            "inputs_digest": {"type": "str", "required": True},
            "keep": {"type": "int", "default": 0},
            "fetched": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    export = Path(module.params["export"])
    if not export.is_dir():
        module.fail_json(msg=f"{export} does not exist: the role nfs_server creates it (notebooks_export)")
    try:
        shared_data.limit_process(shared_data.SECONDS, shared_data.MEMORY, f"{export} is inspected")
        with shared_data.as_owner(export):
            found = state(
                export, **{name: module.params[name] for name in ("files", "inputs_digest", "keep", "fetched")}
            )
    except (Refused, OutOfTime, MemoryError) as error:
        module.fail_json(msg=f"{error or 'not enough memory'}. Remove foreign files from the export")
    for message in found["refused"]:
        module.warn(f"ignored and not changed: {message}")
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
