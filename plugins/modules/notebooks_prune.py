#!/usr/bin/python
"""Ansible module: delete the oldest runs from the shared directory. Runs on the NFS server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: notebooks_prune
short_description: Delete the oldest runs from an exported directory
description:
  - Deletes with the rights of the directory's owner, and follows no link. The newest complete run is always kept, and
    weights are no runs.
  - What cannot be deleted, or not in time, stays with a warning.
options:
  export: {description: The exported directory., type: path, required: true}
  keep: {description: How many of the newest runs are kept., type: int, required: true}
  fetched:
    description:
      - A run that is kept too, the last one of which the results could be fetched. Others may only look complete.
    type: str
    default: ''
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.notebooks_prune:
    export: /srv/books
    keep: 20
"""
RETURN = r"""
removed: {description: Names of the deleted runs., type: list, returned: always}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils import runs, shared_data
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import OutOfTime, Refused


def prune(export: Path, keep: int, pretend: bool, fetched: str = "") -> tuple[list[str], list[str]]:
    """Names of the runs that were deleted, and why others were not."""
    removed: list[str] = []
    refused: list[str] = []
    try:
        complete, _ = shared_data.complete_runs(export)
        for run in runs.surplus(export, {fetched, *(each["run"] for each in complete[:1])}, keep):
            try:
                if not pretend:
                    runs.remove(export, run)
                removed.append(run)
            except Refused as error:
                refused.append(str(error))
    except (Refused, OutOfTime, MemoryError) as error:
        # The time is over: the next run goes on.
        refused.append(f"{error or 'not enough memory'}")
    return removed, refused


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "export": {"type": "path", "required": True},
            "keep": {"type": "int", "required": True},
            "fetched": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    export = Path(module.params["export"])
    shared_data.limit_process(shared_data.SECONDS, shared_data.MEMORY, f"old runs of {export} are deleted")
    with shared_data.as_owner(export):
        removed, refused = prune(export, module.params["keep"], module.check_mode, module.params["fetched"])
    for message in refused[:20]:
        module.warn(f"kept: {message}")
    module.exit_json(changed=bool(removed), removed=removed)


if __name__ == "__main__":
    main()
