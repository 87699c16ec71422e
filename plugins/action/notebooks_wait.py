"""Wait for the Job of one notebook, show its state meanwhile, and report why it failed."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.edge_ai.cluster.plugins.module_utils.action import Action
from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.api import REQUEST, connected
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import Refused, lines, parse_json, printable
from kubernetes import client, watch
from urllib3.exceptions import HTTPError

#: Seconds between two lines of progress while a notebook runs.
INTERVAL = 10
#: Seconds that a pod may be unschedulable: the node may just be restarting, or an old pod terminating.
UNSCHEDULABLE_GRACE = 30
#: Of a pod's output: lines at its end, bytes, and seconds for all of it. A kubelet that others control may send more.
LOG_LINES, LOG_BYTES, LOG_SECONDS = 15, 1 << 16, 30
#: Events of one object that are asked for: every board may make them, for any object.
EVENTS = 50
#: A container that waits for one of these reasons does not start without a change by the user.
CANNOT_START = (
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
)


def state(pod: Any) -> str:
    """The state of a pod for the user."""
    phase = str(pod.status.phase)
    if phase == "Pending":
        waiting = pod.status.container_statuses and pod.status.container_statuses[0].state.waiting
        if waiting and waiting.reason != "ContainerCreating":
            return f"waiting ({printable(waiting.reason, 80)})"
        return "starting" if pod.spec.node_name else "waiting for a node"
    return {"Running": "running", "Succeeded": "done", "Failed": "failed"}.get(phase, printable(phase.lower(), 80))


def place(pod: Any) -> str:
    """The node of a pod, for the end of a phrase; empty before it is scheduled."""
    return f" on {pod.spec.node_name}" if pod.spec.node_name else ""


def unschedulable(pod: Any) -> str:
    """The scheduler's reason if a pod is unschedulable; else empty."""
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False" and condition.reason == "Unschedulable":
            return printable(condition.message)
    return ""


def demanded(pod: Any) -> str:
    """What a pod demands of its node: labels, or the node's name."""
    found = [f"{key}={value}" for key, value in (pod.spec.node_selector or {}).items()]
    affinity = pod.spec.affinity and pod.spec.affinity.node_affinity
    required = affinity and affinity.required_during_scheduling_ignored_during_execution
    for term in required.node_selector_terms if required else []:
        found += [f"the node {' or '.join(each.values)}" for each in term.match_fields or []]
    return ", ".join(found) or "none"


def cannot_start(pod: Any) -> str:
    """Why a container cannot start; else empty."""
    for status in pod.status.container_statuses or []:
        waiting = status.state.waiting
        if waiting and waiting.reason in CANNOT_START:
            return f"{waiting.reason}: {printable(waiting.message or status.image)}"
    return ""


def quoted(text: list[str]) -> str:
    """Lines that a notebook wrote, none of which can be mistaken for Ansible's output."""
    return "".join(f"    | {line}\n" for line in text)


def failed_cell(message: str, export: str) -> str:
    """The report of run.py on a failed cell; empty when the termination message is something else.

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
        f"The executed notebook, with the traceback: {export}{printable(str(found['notebook']).removeprefix('/books'))}"
    )


def failure(pod: Any, title: str, export: str, log: str) -> str:
    """The report on a failed pod: the cell's error if there is one, else the node's reason."""
    failed = f"{title} failed{place(pod)}"
    statuses = pod.status.container_statuses or []
    ended = statuses[0].state.terminated if statuses else None
    if ended and ended.message and (cell := failed_cell(ended.message, export)):
        return f"{failed}, {cell}"
    if ended and ended.reason == "OOMKilled":
        limits = pod.spec.containers[0].resources.limits or {}
        return f"{failed}: it used more memory than its limit of {limits.get('memory', 'none')} (OOMKilled)"
    reason = pod.status.reason or (ended and f"{ended.reason}, exit status {ended.exit_code}") or "unknown reason"
    last = quoted([printable(line, 200) for line in log.split("\n")[-LOG_LINES:]]) or "    (nothing)"
    return f"{failed}: {printable(reason)} {printable(pod.status.message or '')}\nIts last output:\n{last}"


class Watcher:
    """Follows one Job through the API; seconds are of the control node's monotonic clock."""

    def __init__(self, api: client.ApiClient, task: dict[str, Any], show: Any) -> None:
        self.api, self.jobs, self.task, self.show = client.CoreV1Api(api), client.BatchV1Api(api), task, show
        # A pod of an earlier Job of the same name may be left on a board without power.
        self.selector = f"batch.kubernetes.io/controller-uid={task['uid']}"
        self.began = time.monotonic()
        self.shown = ("", 0.0)
        self.unschedulable_since: float | None = None

    def report(self, pod: Any) -> None:
        """Show the state when it changes, and at least once in each interval."""
        now = time.monotonic()
        text = state(pod) if pod is not None else "waiting for its pod"
        if text == self.shown[0] and now - self.shown[1] < INTERVAL - 1:
            return
        self.shown = (text, now)
        where = place(pod) if pod is not None else ""
        last = f", {self.task['last']:.0f} s last time" if self.task["last"] else ""
        self.show(f"  {self.task['title']}{where}: {text} ({now - self.began:.0f} s{last})")

    def check_pod(self, pod: Any) -> None:
        """Raise AnsibleActionFail for a pod that failed or cannot start."""
        title = self.task["title"]
        reason = unschedulable(pod)
        if not reason:
            self.unschedulable_since = None
        elif self.unschedulable_since is None:
            self.unschedulable_since = time.monotonic()
        elif time.monotonic() - self.unschedulable_since > UNSCHEDULABLE_GRACE:
            raise AnsibleActionFail(f"{title}: its pod is unschedulable (selector: {demanded(pod)}): {reason}")
        if broken := cannot_start(pod):
            raise AnsibleActionFail(f"{title}: its container cannot start{place(pod)}: {broken}")
        if pod.status.phase == "Failed":
            raise AnsibleActionFail(failure(pod, title, self.task["export"], self.log(pod)))

    def check_job(self, pod: Any) -> None:
        """Raise AnsibleActionFail for a Job that failed without a failed pod, as when a board was lost."""
        try:
            status: Any = self.jobs.read_namespaced_job(
                self.task["job"], self.task["namespace"], _request_timeout=REQUEST
            ).status
        except client.ApiException as error:
            if error.status == 404:
                raise AnsibleActionFail(f"{self.task['title']}: its Job {self.task['job']} was deleted") from error
            raise
        for condition in status.conditions or []:
            if condition.type == "Failed" and condition.status == "True":
                # The pod may have failed at this moment, and has more details.
                pods = self.api.list_namespaced_pod(
                    self.task["namespace"], label_selector=self.selector, _request_timeout=REQUEST
                )
                for last in pods.items:
                    self.check_pod(last)
                if condition.reason == "DeadlineExceeded":
                    raise AnsibleActionFail(self.timeout_message(pod, ""))
                where = f", its pod was {state(pod)}{place(pod)}" if pod is not None else ""
                raise AnsibleActionFail(
                    f"{self.task['title']}: its Job failed{where}: {condition.reason}: {printable(condition.message)}"
                )

    def log(self, pod: Any) -> str:
        """The end of a pod's output; empty when it is unavailable."""
        found = b""
        try:
            # Not as a whole: the API hands on what the board's kubelet sends, whatever it was asked for.
            answer: Any = self.api.read_namespaced_pod_log(
                pod.metadata.name,
                self.task["namespace"],
                tail_lines=LOG_LINES,
                limit_bytes=LOG_BYTES,
                _preload_content=False,
                _request_timeout=REQUEST,
            )
            with answer:
                until = time.monotonic() + LOG_SECONDS
                while len(found) < LOG_BYTES and time.monotonic() < until:
                    if not (block := answer.read1(LOG_BYTES - len(found), decode_content=False)):
                        break
                    found += block
        except (client.ApiException, HTTPError):
            pass
        return found.decode(errors="replace")

    def warning(self, kind: str, name: str) -> str:
        """The latest warning event of an object; empty when there is none."""
        selector = f"involvedObject.kind={kind},involvedObject.name={name},type=Warning"
        events = self.api.list_namespaced_event(
            self.task["namespace"], field_selector=selector, limit=EVENTS, _request_timeout=REQUEST
        ).items
        return printable(f"{events[-1].reason}: {events[-1].message}") if events else ""

    def wait(self) -> Any:
        """The pod, once it has succeeded. Raises AnsibleActionFail."""
        pod: Any = None
        api_error = ""
        while (left := self.task["timeout"] - (time.monotonic() - self.began)) > 0:
            try:
                # The server ends the stream after the tick, so that a pod without events is reported too.
                stream = watch.Watch().stream(
                    self.api.list_namespaced_pod,
                    self.task["namespace"],
                    label_selector=self.selector,
                    timeout_seconds=max(1, int(min(INTERVAL, left))),
                    _request_timeout=(10, INTERVAL + 10),
                )
                for event in stream:
                    pod = event["object"]
                    self.report(pod)
                    self.check_pod(pod)
                    if pod.status.phase == "Succeeded":
                        return pod
                api_error = ""
                self.check_job(pod)
            except (client.ApiException, HTTPError) as error:
                # The server may be restarting; the pod keeps running.
                api_error = str(error).splitlines()[0]
                self.show(f"  {self.task['title']}: the API is unreachable ({api_error})")
                time.sleep(2)
                continue
            self.report(pod)
            late = pod is None and time.monotonic() - self.began > UNSCHEDULABLE_GRACE
            if late and (warning := self.warning("Job", self.task["job"])):
                raise AnsibleActionFail(f"{self.task['title']}: its Job cannot create a pod: {warning}")
        raise AnsibleActionFail(self.timeout_message(pod, api_error))

    def timeout_message(self, pod: Any, api_error: str) -> str:
        """What did not finish in time, and what to check."""
        text = f"{self.task['title']} did not finish within {self.task['timeout']} s (notebooks_timeout)"
        kubectl = f"kubectl --kubeconfig {self.task['kubeconfig']} -n {self.task['namespace']}"
        if api_error:
            return f"{text}: the API is unreachable: {api_error}"
        if pod is None:
            return f"{text}: its Job never had a pod. Check: {kubectl} describe job {self.task['job']}"
        warning = self.warning("Pod", pod.metadata.name)
        reason = f" Last warning: {warning}." if warning else ""
        return f"{text}: its pod was {state(pod)}{place(pod)}.{reason} Check: {kubectl} logs {pod.metadata.name}"


class ActionModule(Action):
    """The action."""

    def act(self, task: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Wait; fail with a message for the user."""
        with connected(task["kubeconfig"]) as api:
            watcher = Watcher(api, task, self._display.display)
            pod = watcher.wait()
        seconds = round(time.monotonic() - watcher.began, 1)
        return {"changed": False, "node": pod.spec.node_name, "seconds": seconds}
