"""A client of the cluster's API by a kubeconfig on the control node."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from ansible.errors import AnsibleActionFail
from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s import certificate
from kubernetes import client, config

#: Seconds to connect, and for one answer of the API.
REQUEST = (10, 30)
REMEDY = "run site.yml first: it makes the cluster, and fetches its kubeconfig"


class KubeconfigError(AnsibleActionFail):
    """A kubeconfig that is missing or cannot be used: the file, `problem`, and what to do. An action ends with it."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}; {REMEDY}")
        self.problem = problem


def reason(error: Exception) -> str:
    """What the API, or the way to it, says: one line, which may be long."""
    return " ".join(str(error).split())[:300]


@contextmanager
def connected(kubeconfig: str | Path, server: str = "") -> Iterator[client.ApiClient]:
    """A client for the cluster of `kubeconfig`, at the URL `server` if given. Sends nothing. Raises KubeconfigError.

    The library writes the key of the kubeconfig to a temporary file, which it deletes when Python exits; Ansible ends
    its worker processes without that. So the files are in a folder that is deleted with the client.
    """
    path = Path(kubeconfig)
    if not path.is_file():
        raise KubeconfigError(path, "there is no kubeconfig of the cluster")
    with tempfile.TemporaryDirectory(prefix="edge-kubeconfig-") as folder:
        configuration = client.Configuration()
        try:
            config.load_kube_config(
                str(path), client_configuration=configuration, persist_config=False, temp_file_path=folder
            )
            file = configuration.cert_file
            end = certificate.end_of(Path(file).read_text()) if file else None
        except (config.ConfigException, yaml.YAMLError, OSError, ValueError, TypeError) as error:
            raise KubeconfigError(path, f"not a kubeconfig: {reason(error)}") from error
        # Otherwise the API says no more than "Unauthorized".
        if end is not None and end < time.time():
            raise KubeconfigError(path, f"its certificate expired on {time.strftime('%Y-%m-%d', time.gmtime(end))}")
        if server:
            configuration.host = server
        with client.ApiClient(configuration) as api:
            yield api
