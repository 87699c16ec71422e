"""A client of the cluster's API by a kubeconfig on the control node."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s import certificate
from kubernetes import client, config
from urllib3.exceptions import HTTPError

#: Seconds to connect, and for each wait for an answer of the API.
REQUEST = (10, 30)
#: The longest answer that is read as a whole (bytes), and its seconds in all: the pods of 200 boards have 10 MB.
LONGEST, SECONDS = 32 << 20, 120
#: A time that Python has none for. The API takes every year of a kubelet, and the client fails at the whole list.
_NO_TIME = re.compile(rb'"(?:0000|-\d+|\+?\d{5,})(-\d\d-\d\dT[\d:.]{8,27}(?:Z|[+-]\d\d:\d\d)")')

REMEDY = "run site.yml first: it makes the cluster, and fetches its kubeconfig"


class KubeconfigError(AnsibleActionFail):
    """A kubeconfig that is missing or cannot be used: the file, `problem`, and what to do. An action ends with it."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}; {REMEDY}")
        self.problem = problem


def bounded(request: Callable[..., Any]) -> Callable[..., Any]:
    """`request` of a pool of connections, with answers that raise HTTPError where they are too long, or too late.

    Whoever has the credential of a node may make pods that are bound to it, of any number and a MiB each, and write
    their status. A time of another year than Python knows is of the year 1 then.
    """

    def asked(*given: Any, **options: Any) -> Any:
        answer = request(*given, **options | {"preload_content": False})
        part_of, parts = answer.read, answer.stream

        def stream(*of: Any, **how: Any) -> Iterator[bytes]:
            # Of a watch: the API sends each event by itself, and whoever watches ends in time.
            for part in parts(*of, **how):
                yield _NO_TIME.sub(rb'"0001\1', part)

        def read(amt: int | None = None, decode_content: bool | None = None, cache_content: bool = False) -> bytes:
            if amt is not None:
                return bytes(part_of(amt, decode_content, cache_content))
            found, until = b"", time.monotonic() + SECONDS
            while block := answer.read1(1 << 20, decode_content):
                found += block
                if len(found) > LONGEST or time.monotonic() > until:
                    answer.close()
                    raise HTTPError(
                        f"an answer has more than {LONGEST >> 20} MiB, or takes more than {SECONDS} s: see which "
                        "objects are so many or so large (kubectl get pods -A -o wide), and delete them"
                    )
            return _NO_TIME.sub(rb'"0001\1', found)

        answer.read, answer.stream = read, stream
        return answer

    return asked


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
            pool = api.rest_client.pool_manager
            pool.request = bounded(pool.request)
            yield api
