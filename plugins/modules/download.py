#!/usr/bin/python
"""Ansible module: download a file to the control node, with a limit of bytes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: download
short_description: Download a file of limited length
description:
  - Downloads to a file, which is complete when it has its name. ansible.builtin.get_url takes as much as a server
    sends, and compares a digest when the disk is full.
  - With O(sha256), a file that is there is left alone, and an interrupted download is resumed; without it, the file is
    downloaded each time.
options:
  url: {description: What to download., type: str, required: true}
  dest: {description: Where to., type: path, required: true}
  sha256: {description: "Its SHA-256; empty where that is not known.", type: str, default: ""}
  limit: {description: Bytes that it has at most., type: int, required: true}
  setting: {description: "The variable that the URL is from, for messages.", type: str, required: true}
  digest_setting: {description: "The variable that the SHA-256 is from, for messages.", type: str, default: ""}
  timeout: {description: "Seconds without a response before an attempt fails.", type: int, default: 30}
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.download:
    url: https://example.org/sums.txt
    dest: ~/.cache/edge-ai-cluster/sums.txt
    limit: 65536
    setting: k3s_release_url
"""
RETURN = r""" # """

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils.fetch import FetchError, Source, fetch, read
from ansible_collections.edge_ai.cluster.plugins.module_utils.files import write_text


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "dest": {"type": "path", "required": True},
            "sha256": {"type": "str", "default": ""},
            "limit": {"type": "int", "required": True},
            "setting": {"type": "str", "required": True},
            "digest_setting": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    given = module.params
    dest = Path(given["dest"])
    source = Source(given["url"], given["timeout"], given["limit"], given["setting"], given["digest_setting"])
    try:
        if module.check_mode:
            module.exit_json(changed=not (given["sha256"] and dest.exists()))
        if given["sha256"]:
            module.exit_json(changed=fetch(source, given["sha256"], dest))
        text = read(source).decode(errors="replace")
        changed = not dest.exists() or dest.read_text(errors="replace") != text
        if changed:
            write_text(dest, text)
    except FetchError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or dest}: {error.strerror}: check its disk")
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
