#!/usr/bin/python
"""Ansible module: unpack an archive into the shared directory, owned by root, without following links."""

from __future__ import annotations

DOCUMENTATION = r"""
module: shared_data_unpack
short_description: Unpack an archive into the shared directory
description:
  - Runs on the NFS server as root. Files are owned by root, 0644: Jupyter saves an edited one under another name.
  - A link or a special file in the place of a directory or file is removed, not followed.
options:
  src: {description: The archive (.tar.gz) on this board., type: path, required: true}
  export: {description: The exported directory., type: path, required: true}
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.shared_data_unpack:
    src: /tmp/notebooks.tar.gz
    export: /srv/books
"""
RETURN = r"""
files: {description: Paths of the files below the export., type: list, elements: str, returned: success}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils import archives, shared_data


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={"src": {"type": "path", "required": True}, "export": {"type": "path", "required": True}}
    )
    source, export = Path(module.params["src"]), Path(module.params["export"])
    try:
        with source.open("rb") as archive:
            files = archives.unpack(archive, export, archives.DATASET, owner=(0, 0))
    except shared_data.Refused as error:
        module.fail_json(msg=f"{source} into {export}: {error}")
    except OSError as error:
        module.fail_json(msg=f"{shared_data.printable(error.filename or export)}: {error.strerror}")
    module.exit_json(changed=True, files=files)


if __name__ == "__main__":
    main()
