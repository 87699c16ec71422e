"""Wait until the Job of one notebook is done, say meanwhile where it runs, and tell what went wrong in it."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.api import KubeconfigError, connect
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import Refused, lines, parse_json, printable
from kubernetes import client, watch
from urllib3.exceptions import HTTPError

#: Seconds between two signs of life while a notebook runs.
TICK = 10
#: Seconds that a pod may be refused by the scheduler: the node may just be coming back, or an old pod be leaving.
UNSCHEDULABLE_GRACE = 30
#: A container that waits for one of these waits for a person.
HOPELESS = (
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
)


def state(pod: Any) -> str:
    """The state of a pod in a few words for a person."""
    phase = str(pod.status.phase)
    if phase == "Pending":
        waiting = pod.status.container_statuses and pod.status.container_statuses[0].state.waiting
        if waiting and waiting.reason != "ContainerCreating":
            return f"waiting ({waiting.reason})"
        return "starting" if pod.spec.node_name else "waiting for a node"
    return {"Running": "running", "Succeeded": "done", "Failed": "failed"}.get(phase, phase.lower())


def place(pod: Any) -> str:
    """Where a pod is, for the end of a phrase; empty before it has a node."""
    return f" on {pod.spec.node_name}" if pod.spec.node_name else ""


def unschedulable(pod: Any) -> str:
    """The scheduler's reason when it finds no node for a pod; else empty."""
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False" and condition.reason == "Unschedulable":
            return str(condition.message)
    return ""


def hopeless(pod: Any) -> str:
    """Why a container will not start without somebody's help; else empty."""
    for status in pod.status.container_statuses or []:
        waiting = status.state.waiting
        if waiting and waiting.reason in HOPELESS:
            return f"{waiting.reason}: {waiting.message or status.image}"
    return ""


def quoted(text: list[str]) -> str:
    """Lines that a notebook wrote, none of which can be taken for one of Ansible's."""
    return "".join(f"    | {line}\n" for line in text)


def failed_cell(message: str, books: str) -> str:
    """What run.py says of a failed cell; empty when the termination message is something else.

    Each value comes from a notebook: it is shown in one line, with control characters as escapes.
    """
    try:
        found = parse_json(message, "the termination message")
    except Refused:
        return ""
    if not isinstance(found, dict) or not {"notebook", "cell", "ename", "evalue", "source"} <= found.keys():
        return ""
    first, *more = lines(found["evalue"], 6)
    return (
        f"in cell {printable(found['cell'], 10)}: {printable(found['ename'], 80)}: {first}\n{quoted(more)}"
        f"The cell begins with:\n{quoted(lines(found['source'], 8))}"
        f"The executed notebook, with the traceback: {books}{printable(str(found['notebook']).removeprefix('/books'))}"
    )


def failure(pod: Any, title: str, books: str, log: str) -> str:
    """What a person needs to know of a failed pod: the cell's error when there is one, else what the node says."""
    failed = f"{title} failed{place(pod)}"
    statuses = pod.status.container_statuses or []
    ended = statuses[0].state.terminated if statuses else None
    if ended and ended.message and (cell := failed_cell(ended.message, books)):
        return f"{failed}, {cell}"
    if ended and ended.reason == "OOMKilled":
        limits = pod.spec.containers[0].resources.limits or {}
        return f"{failed}: it used more memory than its limit of {limits.get('memory', 'none')} (OOMKilled)"
    reason = pod.status.reason or (ended and f"{ended.reason}, exit status {ended.exit_code}") or "no reason is known"
    last = quoted([printable(line, 200) for line in log.split("\n")[-15:]]) or "    (nothing)"
    return f"{failed}: {reason} {printable(pod.status.message or '')}\nIts last output:\n{last}"


class Watcher:
    """Follows one Job through the API; seconds are of the control node's monotonic clock."""

    def __init__(self, api: client.ApiClient, task: dict[str, Any], show: Any) -> None:
        self.api, self.jobs, self.task, self.show = client.CoreV1Api(api), client.BatchV1Api(api), task, show
        self.selector = f"batch.kubernetes.io/job-name={task['job']}"
        self.began = time.monotonic()
        self.shown = ("", 0.0)
        self.refused_since: float | None = None

    def tell(self, pod: Any) -> None:
        """Show the state when it is new, or when nothing was said for a while."""
        now = time.monotonic()
        words = state(pod) if pod is not None else "waiting for its pod"
        if words == self.shown[0] and now - self.shown[1] < TICK - 1:
            return
        self.shown = (words, now)
        where = place(pod) if pod is not None else ""
        last = f", {self.task['last']:.0f} s last time" if self.task["last"] else ""
        self.show(f"  {self.task['title']}{where}: {words} ({now - self.began:.0f} s{last})")

    def judge(self, pod: Any) -> None:
        """Raise AnsibleActionFail for a pod that cannot end well."""
        title = self.task["title"]
        reason = unschedulable(pod)
        if not reason:
            self.refused_since = None
        elif self.refused_since is None:
            self.refused_since = time.monotonic()
        elif time.monotonic() - self.refused_since > UNSCHEDULABLE_GRACE:
            selector = ", ".join(f"{key}={value}" for key, value in (pod.spec.node_selector or {}).items())
            raise AnsibleActionFail(f"{title}: no node takes its pod (it asks for {selector or 'any node'}): {reason}")
        if broken := hopeless(pod):
            raise AnsibleActionFail(f"{title}: its container cannot start{place(pod)}: {broken}")
        if pod.status.phase == "Failed":
            raise AnsibleActionFail(failure(pod, title, self.task["books"], self.log(pod)))

    def judge_job(self, pod: Any) -> None:
        """Raise AnsibleActionFail for a Job that gave up without a failed pod, as when a board was lost."""
        try:
            status: Any = self.jobs.read_namespaced_job(self.task["job"], self.task["namespace"]).status
        except client.ApiException as error:
            if error.status == 404:
                raise AnsibleActionFail(f"{self.task['title']}: somebody deleted its Job {self.task['job']}") from error
            raise
        for condition in status.conditions or []:
            if condition.type == "Failed" and condition.status == "True":
                # The pod may have failed this very moment, and knows more.
                for last in self.api.list_namespaced_pod(self.task["namespace"], label_selector=self.selector).items:
                    self.judge(last)
                if condition.reason == "DeadlineExceeded":
                    raise AnsibleActionFail(self.overdue(pod, ""))
                where = f", its pod was {state(pod)}{place(pod)}" if pod is not None else ""
                raise AnsibleActionFail(
                    f"{self.task['title']}: its Job failed{where}: {condition.reason}: {condition.message}"
                )

    def log(self, pod: Any) -> str:
        """The end of a pod's output; empty when it cannot be had."""
        try:
            name, namespace = pod.metadata.name, self.task["namespace"]
            return str(self.api.read_namespaced_pod_log(name, namespace, tail_lines=15, limit_bytes=1 << 16))
        except (client.ApiException, HTTPError):
            return ""

    def warning(self, kind: str, name: str) -> str:
        """The latest warning that the cluster has about an object; empty when there is none."""
        selector = f"involvedObject.kind={kind},involvedObject.name={name},type=Warning"
        events = self.api.list_namespaced_event(self.task["namespace"], field_selector=selector).items
        return f"{events[-1].reason}: {events[-1].message}" if events else ""

    def wait(self) -> Any:
        """The pod, once it has succeeded. Raises AnsibleActionFail."""
        pod: Any = None
        lost = ""
        while (left := self.task["timeout"] - (time.monotonic() - self.began)) > 0:
            try:
                # The server ends the stream after the tick, so that a silent pod is talked about too.
                stream = watch.Watch().stream(
                    self.api.list_namespaced_pod,
                    self.task["namespace"],
                    label_selector=self.selector,
                    timeout_seconds=max(1, int(min(TICK, left))),
                    _request_timeout=(10, TICK + 10),
                )
                for event in stream:
                    pod = event["object"]
                    self.tell(pod)
                    self.judge(pod)
                    if pod.status.phase == "Succeeded":
                        return pod
                lost = ""
                self.judge_job(pod)
            except (client.ApiException, HTTPError) as error:
                # The server may be restarting; the pod does not mind.
                lost = str(error).splitlines()[0]
                self.show(f"  {self.task['title']}: the API does not answer ({lost})")
                time.sleep(2)
                continue
            self.tell(pod)
            late = pod is None and time.monotonic() - self.began > UNSCHEDULABLE_GRACE
            if late and (warning := self.warning("Job", self.task["job"])):
                raise AnsibleActionFail(f"{self.task['title']}: its Job cannot make a pod: {warning}")
        raise AnsibleActionFail(self.overdue(pod, lost))

    def overdue(self, pod: Any, lost: str) -> str:
        """What was waited for in vain, and what to look at."""
        text = f"{self.task['title']} was not done after {self.task['timeout']} s (notebooks_timeout)"
        look = f"kubectl --kubeconfig {self.task['kubeconfig']} -n {self.task['namespace']}"
        if lost:
            return f"{text}: the API does not answer any more: {lost}"
        if pod is None:
            return f"{text}: its Job never had a pod. Look at: {look} describe job {self.task['job']}"
        warning = self.warning("Pod", pod.metadata.name)
        reason = f" Last warning: {warning}." if warning else ""
        return f"{text}: its pod was {state(pod)}{place(pod)}.{reason} Look at: {look} logs {pod.metadata.name}"


class ActionModule(ActionBase):
    """What Ansible asks an action plugin for."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Wait; fail with a message for a person."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, task = self.validate_argument_spec(
            argument_spec={
                "kubeconfig": {"type": "path", "required": True},
                "namespace": {"type": "str", "required": True},
                "job": {"type": "str", "required": True},
                "title": {"type": "str", "required": True},
                "timeout": {"type": "int", "required": True},
                "last": {"type": "float", "default": 0},
                "books": {"type": "str", "required": True},
            }
        )
        try:
            watcher = Watcher(connect(task["kubeconfig"]), task, self._display.display)
        except KubeconfigError as error:
            raise AnsibleActionFail(str(error)) from error
        pod = watcher.wait()
        seconds = round(time.monotonic() - watcher.began, 1)
        return result | {"changed": False, "node": pod.spec.node_name, "seconds": seconds}
