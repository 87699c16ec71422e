"""One look at the export on the NFS server: which files differ, and which run of the given inputs is complete."""

from __future__ import annotations

DOCUMENTATION = """
module: notebooks_state
short_description: State of notebooks, data set and runs in an exported folder
description: Reads only. Runs on the NFS server.
options:
  export: {description: The exported folder., type: path, required: true}
  files: {description: Path below the export to the SHA-256 that the file should have., type: dict, required: true}
  inputs_digest: {description: Digest of the inputs whose complete run is looked for., type: str, required: true}
"""
RETURN = """
differing:
  description: Paths of files that are missing or have another digest.
  returned: always
  type: list
complete:
  description: The complete.json of the newest complete run of these inputs; empty when there is none.
  returned: always
  type: dict
newest:
  description: The complete.json of the newest complete run of any inputs; empty when there is none.
  returned: always
  type: dict
computed:
  description: For the records of `complete`, or else of `newest`, [host, inputs_digest] each.
  returned: always
  type: list
durations:
  description: Seconds that each notebook took in the newest complete run of any inputs.
  returned: always
  type: dict
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule


def differing(export: Path, files: dict[str, str]) -> list[str]:
    """Paths below `export` whose file is missing or has another SHA-256 than the given one."""
    wrong = []
    for name, digest in sorted(files.items()):
        found = hashlib.sha256()
        try:
            with (export / name).open("rb") as file:
                while block := file.read(1 << 20):
                    found.update(block)
        except OSError:
            wrong.append(name)
            continue
        if found.hexdigest() != digest:
            wrong.append(name)
    return wrong


def complete_runs(export: Path) -> list[dict[str, Any]]:
    """The complete.json of all complete runs whose archive is still there, newest first."""
    runs = []
    for path in sorted(export.glob("runs/*/complete.json"), reverse=True):
        try:
            run = json.loads(path.read_text())
        except (OSError, ValueError):
            # Not one of ours: they are written as a whole.
            continue
        if isinstance(run, dict) and (path.parent / str(run.get("archive"))).is_file():
            runs.append(run)
    return runs


def computed(export: Path, run: dict[str, Any]) -> list[list[str]]:
    """[host, inputs_digest] of each record of a run; none when its timings cannot be read."""
    try:
        records = json.loads((export / "runs" / str(run.get("run")) / "timings.json").read_text())
        return [[record["host"], record["inputs_digest"]] for record in records]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def main() -> None:
    """Look, and answer."""
    module = AnsibleModule(
        argument_spec={
            "export": {"type": "path", "required": True},
            "files": {"type": "dict", "required": True},
            "inputs_digest": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    export = Path(module.params["export"])
    if not export.is_dir():
        module.fail_json(msg=f"{export}: there is no such folder; the role nfs_server makes it (notebooks_export)")
    runs = complete_runs(export)
    same = [run for run in runs if run.get("inputs_digest") == module.params["inputs_digest"]]
    module.exit_json(
        changed=False,
        differing=differing(export, module.params["files"]),
        complete=same[0] if same else {},
        newest=runs[0] if runs else {},
        computed=computed(export, (same or runs)[0]) if runs else [],
        durations=runs[0].get("durations", {}) if runs else {},
    )


if __name__ == "__main__":
    main()
