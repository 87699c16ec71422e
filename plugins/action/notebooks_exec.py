"""Run a command in a pod, and read no more of its output than a limit: programs in the pod may write without end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.edge_ai.cluster.plugins.module_utils.action import Action
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.api import connected, reason
from kubernetes import client
from kubernetes.stream import stream
from kubernetes.stream.ws_client import ABNF, STDOUT_CHANNEL
from urllib3.exceptions import HTTPError
from websocket import WebSocketException

#: Bytes of output.
LIMIT = 4096


def bounded(receive: Callable[[int], bytes], limit: int, message: str) -> Callable[[int], bytes]:
    """`receive`, which raises AnsibleActionFail beyond a number of bytes in all."""
    left = limit

    def counted(size: int) -> bytes:
        nonlocal left
        content = receive(size)
        left -= len(content)
        if left < 0:
            raise AnsibleActionFail(message)
        return content

    return counted


def output(api: client.ApiClient, task: dict[str, Any]) -> str:
    """What a command in a pod writes until it ends. Raises AnsibleActionFail when that is more than the limit."""
    opened: Any = stream(
        client.CoreV1Api(api).connect_get_namespaced_pod_exec,
        task["pod"],
        task["namespace"],
        container=task["container"],
        command=task["command"],
        stdout=True,
        stderr=False,
        stdin=False,
        tty=False,
        _preload_content=False,
    )
    message = f"A command in the pod {task['pod']} writes more than {LIMIT} bytes: see what runs in that pod"
    # A frame has any length that its head says, and may be in parts; a pod may write a byte in each.
    opened.sock.frame_buffer.recv = bounded(opened.sock.frame_buffer.recv, 8 * LIMIT + (64 << 10), message)
    found = b""
    try:
        # Not by methods of the library, which read for as long as there is more.
        while len(found) <= LIMIT:
            kind, frame = opened.sock.recv_data_frame(True)
            if kind == ABNF.OPCODE_CLOSE:
                return found.decode(errors="replace")
            if kind in (ABNF.OPCODE_BINARY, ABNF.OPCODE_TEXT) and frame.data[:1] == bytes([STDOUT_CHANNEL]):
                found += frame.data[1:]
    finally:
        opened.sock.shutdown()
    raise AnsibleActionFail(message)


class ActionModule(Action):
    """The action."""

    def act(self, task: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Run the command; fail with a message for the user."""
        with connected(task["kubeconfig"]) as api:
            try:
                found = output(api, task)
            except (client.ApiException, HTTPError, WebSocketException, OSError) as error:
                raise AnsibleActionFail(f"The pod {task['pod']} does not run a command: {reason(error)}") from error
        return {"changed": True, "stdout": found}
