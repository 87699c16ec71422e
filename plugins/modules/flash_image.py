#!/usr/bin/python
"""Ansible module: download an OS image to the control node, verify and unpack it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: flash_image
short_description: Download, verify and unpack an OS image
description:
  - Downloads C(<url>) to C(<cache>/<sha256>.img.xz), resuming an interrupted download, and unpacks it beside.
  - No file gets its final name unless the digest is right.
options:
  url: {description: "The packed image (.img.xz, or a raw .img).", type: str, required: true}
  sha256: {description: "Its SHA-256; empty means the one published at <url>.sha256.", type: str, default: ""}
  cache: {description: "Directory, created if missing.", type: path, required: true}
  timeout: {description: "Seconds without a response before an attempt fails.", type: int, default: 30}
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.flash_image:
    url: https://example.org/os.img.xz
    sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    cache: ~/.cache/edge-ai-cluster/images
"""
RETURN = r"""
image: {description: "Path of the raw image.", type: str, returned: always}
sha256: {description: "Digest of the packed image.", type: str, returned: always}
bytes: {description: "Size of the raw image; 0 in check mode when it is not cached.", type: int, returned: always}
"""

import re
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils.fetch import FetchError, fetch
from ansible_collections.edge_ai.cluster.plugins.module_utils.flash.fetch import image, sidecar_digest, unpack


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "sha256": {"type": "str", "default": ""},
            "cache": {"type": "path", "required": True},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    url, cache, timeout = module.params["url"], Path(module.params["cache"]), module.params["timeout"]
    sha256 = module.params["sha256"].lower()
    if sha256 and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        module.fail_json(msg=f"flash_image_sha256 {sha256!r} is not a SHA-256 (64 hexadecimal digits) of the .img.xz")
    started = time.monotonic()
    try:
        pinned = bool(sha256)
        if module.check_mode:
            raw = cache / f"{sha256}.img"
            size = raw.stat().st_size if pinned and raw.exists() else 0
            module.exit_json(
                changed=not size, image=str(raw), sha256=sha256, bytes=size,
                msg="is cached" if size else f"would download {url}",
            )  # fmt: skip
        sha256 = sha256 or sidecar_digest(url, timeout)
        cache.mkdir(parents=True, exist_ok=True)
        raw = cache / f"{sha256}.img"
        fetched = unpacked = False
        if not raw.exists():
            packed = cache / f"{sha256}.img.xz"
            fetched = fetch(image(url, timeout), sha256, packed)
            raw, unpacked = unpack(packed)
        size = raw.stat().st_size
    except FetchError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or cache}: {error.strerror}: check cluster_cache_dir and its disk")
    done = [word for word, was in (("downloaded", fetched), ("unpacked", unpacked)) if was] or ["in the cache"]
    origin = "the pinned digest" if pinned else f"the digest at {url}.sha256 (flash_image_sha256 is empty)"
    module.exit_json(
        changed=fetched or unpacked, image=str(raw), sha256=sha256, bytes=size,
        msg=f"{' and '.join(done)} in {time.monotonic() - started:.1f} s, {size / 1e9:.2f} GB, matches {origin}",
    )  # fmt: skip


if __name__ == "__main__":
    main()
