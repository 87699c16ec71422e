"""Pack files of the control node into one archive, so that they travel to a board in one task."""

from __future__ import annotations

DOCUMENTATION = """
module: notebooks_bundle
short_description: Pack files into a tar archive under given names
description: Runs on the control node. The archive is replaced as a whole.
options:
  files: {description: Name in the archive to the file's path here., type: dict, required: true}
  dest: {description: Path of the archive (.tar.gz)., type: path, required: true}
"""

import tarfile
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule


def pack(files: dict[str, str], archive: Path) -> None:
    """Write `archive` with all files readable by everybody and writable by root only, folders before their files."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    part = archive.with_name(f".{archive.name}.part")
    # Level 1: digits shrink to a quarter at once, and a board unpacks it as fast as any.
    with tarfile.open(part, "w:gz", compresslevel=1) as tar:
        folders = sorted({str(parent) for name in files for parent in Path(name).parents if str(parent) != "."})
        for folder in folders:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, 0o755, int(time.time())
            tar.addfile(entry)
        for name, path in sorted(files.items()):
            entry = tar.gettarinfo(path, arcname=name)
            entry.mode, entry.uid, entry.gid, entry.uname, entry.gname = 0o644, 0, 0, "root", "root"
            with Path(path).open("rb") as file:
                tar.addfile(entry, file)
    part.replace(archive)


def main() -> None:
    """Pack what the parameters say."""
    module = AnsibleModule(
        argument_spec={"files": {"type": "dict", "required": True}, "dest": {"type": "path", "required": True}}
    )
    try:
        pack(module.params["files"], Path(module.params["dest"]))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or module.params['dest']}: {error.strerror}")
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()
