"""JupyterHub: people of a list, each with a pod on a board of their choice and a home of their own on the export."""

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from jupyterhub.auth import Authenticator
from kubespawner import KubeSpawner
from sqlalchemy import inspect
from tornado.httpserver import HTTPServer

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import logins  # noqa: E402

SETTINGS = json.loads((HERE / "settings.json").read_text())
USERS = logins.hashes(json.loads((HERE / "users.json").read_text()))
#: Seconds that a wrong login takes at least.
FAILURE_DELAY = 1.0
#: Longest list of Nodes that is read (bytes): one of 200 has 3 MB, and a Node may have as much as the API takes.
NODES = 8 << 20
#: A pod of a board that does not answer is never confirmed to have ended; after this it counts as ended.
LOST = timedelta(seconds=30)

c = get_config()  # noqa: F821  (defined by JupyterHub)


class ListedUsers(Authenticator):
    """Users are those of the Secret.

    A change of it restarts the hub, and whoever is gone or has another password is logged out: the database is brought
    in line at the start.
    """

    # One at a time: 10 MiB and half a second of a board's processor each.
    pool = ThreadPoolExecutor(1)

    async def authenticate(self, handler: Any, data: dict[str, str]) -> str | None:
        """The name, if the password is right.

        JupyterHub also takes passwords where API tokens are made, and people's pods reach the hub past the Ingress:
        there nothing would limit guesses.
        """
        if handler.request.path != logins.PAGE or logins.comes_from(handler.request, pods_of_people()):
            return None
        name, password = str(data.get("username", "")), str(data.get("password", ""))
        loop = asyncio.get_running_loop()
        begun = loop.time()
        if await loop.run_in_executor(self.pool, logins.right, USERS.get(name), password):
            return name
        await asyncio.sleep(max(0.0, FAILURE_DELAY - (loop.time() - begun)))
        return None

    def validate_username(self, username: str) -> bool:
        """Whether a user is on the list."""
        return username in USERS

    def normalize_username(self, username: str) -> str:
        """As it was typed: Alice is not alice."""
        return username

    def add_user(self, user: Any) -> None:
        """At each start, and when a user logs in for the first time. Raises ValueError for users who are gone."""
        super().add_user(user)
        user = getattr(user, "orm_user", user)
        session = logins.session(user.name, USERS[user.name])
        if user.cookie_id != session:
            user.cookie_id = session
            database = inspect(user).session
            for token in user.api_tokens:
                database.delete(token)
            database.commit()


class BoardSpawner(KubeSpawner):
    """Pods of people, on boards that may lose their power."""

    async def poll(self) -> int | None:
        """None while the pod runs. One that should have ended, on a board that does not answer, is given up."""
        await self._start_watching_pods()
        pod = self.pod_reflector.pods.get(f"{self.namespace}/{self.pod_name}")
        ending = pod and pod["metadata"].get("deletionTimestamp")
        if ending and datetime.now(UTC) - datetime.fromisoformat(ending) > LOST:
            await self.stop(now=True)
            return 1
        status: int | None = await super().poll()
        return status


def pods_of_people() -> list[dict[str, Any]]:
    """The pods of people's Jupyters, as the API last said."""
    found = [each.pods for each in BoardSpawner.reflectors.values() if hasattr(each, "pods")]
    return [pod for pods in found for pod in pods.values()]


async def nodes(spawner: KubeSpawner) -> list[dict[str, Any]]:
    """The Nodes; none where their list is longer than NODES.

    As JSON: each may have what its kubelet wrote, and the client would fail at all for a time of one (the year 0).
    """
    answer = await spawner.api.list_node(_preload_content=False)
    text = b""
    async for block in answer.content.iter_chunked(1 << 16):
        text += block
        if len(text) > NODES:
            answer.close()
            return []
    found: list[dict[str, Any]] = json.loads(text).get("items", [])
    return found


async def boards(spawner: KubeSpawner) -> list[dict[str, Any]]:
    """What a user may choose from: any board, those of a role, or one of those that are Ready now."""
    found: list[dict[str, Any]] = [{"display_name": "Any board", "slug": "any", "default": True}]
    ready = []
    for node in await nodes(spawner):
        meta, spec, status = node["metadata"], node.get("spec", {}), node.get("status", {})
        # Whoever has the agents' token can add a Node that never reported any.
        conditions = {each["type"]: each["status"] for each in status.get("conditions") or []}
        taints = [each["effect"] for each in spec.get("taints") or []]
        closed = spec.get("unschedulable") or any(effect != "PreferNoSchedule" for effect in taints)
        if conditions.get("Ready") == "True" and not closed:
            ready.append((meta["name"], (meta.get("labels") or {}).get("role", "")))
    for role in sorted({role for _, role in ready if role}):
        override = {"node_selector": {"role": role}}
        found.append({"display_name": f"A board for {role}", "slug": f"role-{role}", "kubespawner_override": override})
    for name, role in sorted(ready):
        # Its label kubernetes.io/hostname is what a node says of itself.
        term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}
        title = f"{name} ({role})" if role else name
        chosen = {"node_affinity_required": [term]}
        found.append({"display_name": title, "slug": f"board-{name}", "kubespawner_override": chosen})
    return found


def before_spawn(spawner: KubeSpawner) -> None:
    """Have the pod say for which login it runs: roles/manifests ends those of people who may not log in any more."""
    # What was chosen before would be combined with what is chosen now.
    spawner.node_selector, spawner.node_affinity_required = {}, []
    spawner.extra_labels = {"edge-ai/login": logins.label(spawner.user.name, USERS[spawner.user.name])}


# The proxy runs on when the hub does not: no user is interrupted.
c.JupyterHub.hub_bind_url = "http://:8081"
c.JupyterHub.hub_connect_url = "http://hub:8081"
c.JupyterHub.cleanup_servers = False
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = "http://proxy-api:8001"
c.ConfigurableHTTPProxy.auth_token = (HERE / "proxy_token").read_text().strip()
c.JupyterHub.cookie_secret = bytes.fromhex((HERE / "cookie_secret").read_text().strip())
c.JupyterHub.db_url = "sqlite:////srv/jupyterhub/jupyterhub.sqlite"
c.JupyterHub.upgrade_db = True
c.JupyterHub.tornado_settings = {"cookie_options": {"samesite": "Lax"}}
# A request is in memory as a whole before anything asks who sent it. JupyterHub has no setting for this; tornado's own
# limit is 100 MB.
HTTPServer.configure(None, max_body_size=2**20)

c.JupyterHub.authenticator_class = ListedUsers
c.Authenticator.allowed_users = set(USERS)
c.Authenticator.allow_existing_users = False
c.Authenticator.delete_invalid_users = True
# As a role, which is taken away from whoever is no longer on the list.
c.JupyterHub.load_roles = [{"name": "admin", "users": SETTINGS["admins"]}]

c.JupyterHub.spawner_class = BoardSpawner
c.KubeSpawner.image = SETTINGS["image"]
c.KubeSpawner.image_pull_policy = "IfNotPresent"
c.KubeSpawner.profile_list = boards
c.KubeSpawner.pre_spawn_hook = before_spawn
c.KubeSpawner.pod_name_template = "user-{username}"
c.KubeSpawner.common_labels = {"app.kubernetes.io/name": "singleuser-server", "app.kubernetes.io/part-of": "edge-ai"}
# A drain may end it, though no controller starts it again: its user does.
c.KubeSpawner.extra_annotations = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}
c.KubeSpawner.mem_guarantee = f"{SETTINGS['memory_request_mb']}M"
c.KubeSpawner.mem_limit = f"{SETTINGS['memory_limit_mb']}M"
c.KubeSpawner.cpu_guarantee = 0.1
# A busy server's API takes longer than three seconds for a pod: each request that is given up then makes it busier.
c.KubeSpawner.k8s_api_request_timeout = 30
c.KubeSpawner.k8s_api_request_retry_timeout = 120
# A board unpacks the image from its card the first time.
c.KubeSpawner.start_timeout = 300
c.KubeSpawner.http_timeout = 120
c.KubeSpawner.delete_grace_period = 15
c.KubeSpawner.automount_service_account_token = False
c.KubeSpawner.extra_pod_config = {"enable_service_links": False}
c.KubeSpawner.uid = c.KubeSpawner.gid = 10001
c.KubeSpawner.pod_security_context = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
c.KubeSpawner.container_security_context = {"readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
# A board without power: its users may start again elsewhere after two minutes, not five.
c.KubeSpawner.tolerations = [
    {"key": f"node.kubernetes.io/{state}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}
    for state in ("not-ready", "unreachable")
]

# A home of one's own, and what all share to be read. No pod has the export itself.
SHARED = ("notebooks", "data", "weights")
c.KubeSpawner.volumes = {
    "books": {"name": "books", "persistentVolumeClaim": {"claimName": "nfs"}},
    "jupyter": {"name": "jupyter", "emptyDir": {"sizeLimit": "1Gi"}},
    "tmp": {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
}
c.KubeSpawner.volume_mounts = {
    "home": {"name": "books", "mountPath": "/books/home/{username}", "subPath": "home/{username}"},
    **{each: {"name": "books", "mountPath": f"/books/{each}", "subPath": each, "readOnly": True} for each in SHARED},
    "jupyter": {"name": "jupyter", "mountPath": "/home/jupyter"},
    "tmp": {"name": "tmp", "mountPath": "/tmp"},
}
c.KubeSpawner.working_dir = "/books/home/{username}"
# SQLite locks do not work on NFS: signatures and IPython's history are in the pod.
c.KubeSpawner.environment = {
    "HOME": "/home/jupyter",
    "JUPYTER_DATA_DIR": "/home/jupyter/data",
    "JUPYTER_RUNTIME_DIR": "/home/jupyter/runtime",
    "JUPYTER_CONFIG_DIR": "/home/jupyter/config",
    "IPYTHONDIR": "/home/jupyter/ipython",
    "MPLCONFIGDIR": "/home/jupyter/matplotlib",
}
c.Spawner.cmd = ["jupyterhub-singleuser"]
c.Spawner.notebook_dir = "/books"
c.Spawner.default_url = "/lab/tree/home/{username}"
c.Spawner.disable_user_config = True
# What is idle ends: first kernels and terminals that no browser shows, then the pod.
idle = SETTINGS["idle_timeout"]
c.Spawner.args = [
    "--FileContentsManager.delete_to_trash=False",
    # As ../../base/shared/jupyter_server_config.py has it.
    f"--ServerApp.max_body_size={64 * 2**20}",
    f"--ServerApp.max_buffer_size={64 * 2**20}",
    f"--MappingKernelManager.cull_idle_timeout={idle}",
    f"--MappingKernelManager.cull_interval={max(1, min(300, idle // 10))}",
    f"--TerminalManager.cull_inactive_timeout={idle}",
    f"--TerminalManager.cull_interval={max(1, min(300, idle // 10))}",
    f"--ServerApp.shutdown_no_activity_timeout={idle}",
]
