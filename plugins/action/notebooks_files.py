"""Copy files of the control node into the shared directory on the NFS server, in one transfer."""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path
from typing import IO, Any

from ansible.errors import AnsibleActionFail
from ansible_collections.edge_ai.cluster.plugins.module_utils.action import Action


def pack(files: dict[str, str], archive: IO[bytes]) -> None:
    """Write all files into `archive` (tar, gzip). Raises OSError."""
    # Level 1: compresses the data set to a quarter, and a board unpacks it as fast as any other level.
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as tar:
        for name, path in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            with Path(path).open("rb") as file:
                entry.size = Path(path).stat().st_size
                tar.addfile(entry, file)


class ActionModule(Action):
    """The action."""

    # Of the NFS server.
    _requires_connection = True

    def act(self, task: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Pack, send, unpack."""
        if self._task.check_mode:
            return {"changed": True, "files": sorted(task["files"])}
        try:
            remote = self._connection._shell.join_path(self._make_tmp_path(), "files.tar.gz")
            with tempfile.NamedTemporaryFile(suffix=".tar.gz") as archive:
                pack(task["files"], archive)
                archive.flush()
                self._transfer_file(archive.name, remote)
            return self._execute_module(
                module_name="edge_ai.cluster.shared_data_unpack",
                module_args={"src": remote, "export": task["export"]},
                task_vars=variables,
            )
        except OSError as error:
            raise AnsibleActionFail(f"{error.filename}: {error.strerror}") from None
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
