"""Make a backup on the control node, open one, restore parts of it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.edge_ai.cluster.plugins.module_utils.action import Action
from ansible_collections.edge_ai.cluster.plugins.module_utils.backup import archive, control_node, generations, place
from ansible_collections.edge_ai.cluster.plugins.module_utils.backup.seal import (
    SIGNER,
    BackupError,
    age,
    read_key,
    recipient_of,
    sign,
)
from ansible_collections.edge_ai.cluster.plugins.module_utils.backup.transfer import RESERVE, Show, move, receive, send
from ansible_collections.edge_ai.cluster.plugins.module_utils.files import sha256_of, sync, write_text
from ansible_collections.edge_ai.cluster.plugins.module_utils.network import is_open
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import Refused
from ansible_collections.edge_ai.cluster.plugins.module_utils.ssh import become_password

#: The repository that this file is of.
CHECKOUT = Path(__file__).resolve().parents[2]
NOTHING = "Nothing was changed."


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """A lock while a backup is made: its holder may remove what an interrupted one left. Raises AnsibleActionFail."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    descriptor = os.open(directory / ".lock", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise AnsibleActionFail(f"another backup into {directory} is running") from None
    finally:
        os.close(descriptor)


def checkout() -> dict[str, Any]:
    """The commit of this checkout, empty where that is not known, and whether its files differ from it."""

    def git(*arguments: str) -> str:
        argv = ["git", "-C", str(CHECKOUT), *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return {"commit": "", "changed": False}


def differs(then: dict[str, Any], now: dict[str, Any]) -> str:
    """A sentence for a checkout that is not the one that made the backup; empty for the same one."""
    made = f"commit {then.get('commit') or 'that is not known'}"
    if then.get("changed"):
        made += " with changes that were not committed"
    if then == now and now["commit"] and not now["changed"]:
        return ""
    here = f"commit {now['commit'] or 'that is not known'}" + (" with changes" if now["changed"] else "")
    return f"The backup was made by {made}, this checkout is {here}. If the restore fails, try it with the former."


def make(task: dict[str, Any], show: Show) -> dict[str, Any]:
    """A new backup. Its directory gets its name only when everything was read and is complete. Raises BackupError."""
    directory = Path(task["directory"])
    recipient_of(Path(task["secrets"]))
    begun = time.monotonic()
    if task["copy_to"]:
        place.validate(task["copy_to"])
    with alone(directory):
        warnings = list(filter(None, [place.same_disk(directory, task["copy_to"])]))
        for old in directory.glob(".part-*"):
            shutil.rmtree(old)
        needed = sum(part.get("bytes", 0) for part in task["parts"])
        free = shutil.disk_usage(directory).free
        if free < needed + RESERVE:
            raise AnsibleActionFail(
                f"{directory} has {free / 1e6:.0f} MB free, up to {needed / 1e6:.0f} MB are needed: free space, set "
                "cluster_backup_keep, or set cluster_backups_dir to another disk"
            )
        made = generations.stamp(time.time())
        while (directory / made).exists():
            time.sleep(0.2)
            made = generations.stamp(time.time())
        temporary, final = directory / f".part-{made}", directory / made
        temporary.mkdir(mode=0o700)
        manifest = {"format": generations.FORMAT, "created": made, **task["manifest"]}
        manifest |= {"checkout": checkout(), "files": {}}
        with place.removed_unless_done(temporary):
            write(task, temporary, manifest, show)
            temporary.rename(final)
        sync(directory)
        gone = generations.prune(directory, task["keep"], manifest["cluster_name"], made)
        there = copy(task, final, manifest["cluster_name"]) if task["copy_to"] else ""
    size = sum(entry["size"] for entry in manifest["files"].values())
    seconds = time.monotonic() - begun
    message = f"{final}: {size / 1e6:.1f} MB in {seconds:.0f} s" + (f"; removed {', '.join(gone)}" if gone else "")
    left_out = [f"{final}: left out {each}" for entry in manifest["files"].values() for each in entry["left_out"]]
    return {
        "changed": True,
        "msg": message + there,
        "backup": str(final),
        "bytes": size,
        "seconds": round(seconds, 1),
        "warnings": warnings + left_out[:20],
    }


def write(task: dict[str, Any], temporary: Path, manifest: dict[str, Any], show: Show) -> None:
    """The files of a backup, and what the manifest says of them. Raises BackupError, AnsibleActionFail, OSError."""
    secrets = Path(task["secrets"])
    recipient = recipient_of(secrets)
    with archive.writing(temporary / archive.CONTROL, recipient) as tar:
        inventories = [Path(each) for each in task["inventories"] if "," not in each]
        names = {f"inventory/{number}": path for number, path in enumerate(inventories)}
        control_node.pack(tar, {"secrets": secrets, **names})
        found = {archive.CONTROL: tar.end()}
    for part in task["parts"]:
        found[part["name"]] = receive(part, temporary / part["name"], recipient, task["timeout"], show)
    manifest["ca_sha256"] = archive.ca_sha256(found[archive.SERVER])
    for name, inner in found.items():
        if inner.faults:
            raise AnsibleActionFail(f"{name}, as it was written: {'; '.join(inner.faults[:5])}")
        path = temporary / name
        with path.open("rb") as file:  # a disk may find here that it has no room
            os.fsync(file.fileno())
        manifest["files"][name] = {
            "size": path.stat().st_size,
            "sha256": sha256_of(path),
            "files": len(inner.sums),
            "bytes": inner.size,
            "left_out": inner.left_out,
        }
    content = (json.dumps(manifest, indent=1) + "\n").encode()
    for name, text in ((generations.MANIFEST, content), (generations.SIGNATURE, sign(content, secrets / SIGNER))):
        write_text(temporary / name, text.decode(), 0o600)
    # Parts of it are what boards said: one that cannot be restored must not replace others.
    generations.read_manifest(temporary)


def copy(task: dict[str, Any], backup: Path, cluster_name: str) -> str:
    """The backup at its second place; what there is to say of it. Raises AnsibleActionFail."""
    to = task["copy_to"]
    try:
        gone = place.copy(backup, to, cluster_name, task["keep"], task["copy_ssh_args"], task["timeout"])
    except (BackupError, OSError) as error:
        raise AnsibleActionFail(f"{backup} is complete, but was not copied to {to}: {error}") from None
    return f"\nCopied to {to}" + (f"; removed there: {', '.join(gone)}" if gone else "")


def running_apis(apis: list[str], seconds: float = 30) -> dict[str, str]:
    """URL of each API that answers within that time, to the hash of the CA that it presents."""
    found: dict[str, str] = {}
    # Not verified: the CA that the server presents is what is read here.
    context = ssl._create_unverified_context()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))

    def ask(api: str) -> None:
        # Whatever answers there: it is not known yet.
        with suppress(OSError, ValueError, HTTPException), opener.open(f"{api}/cacerts", timeout=5) as answer:
            found[api] = hashlib.sha256(answer.read(1 << 20)).hexdigest()

    # The time-out above is for each wait; a server may send a byte at a time.
    asking = [threading.Thread(target=ask, args=(api,), daemon=True) for api in apis]
    for each in asking:
        each.start()
    until = time.monotonic() + seconds
    for each in asking:
        each.join(max(0.0, until - time.monotonic()))
    return dict(found)


def reachable(ports: list[dict[str, Any]]) -> list[str]:
    """Names of the hosts whose ssh port accepts a connection."""
    return [str(each["name"]) for each in ports if is_open(each["host"], int(each.get("port") or 22), 5)]


def open_backup(task: dict[str, Any]) -> dict[str, Any]:
    """Verify the wanted backup, all of it. Fails with every reason against it."""
    try:
        key = read_key(task["identity"])
        age()
        backup = generations.choose(task["wanted"], Path(task["directory"]))
    except BackupError as error:
        raise AnsibleActionFail(f"{error}. {NOTHING}") from None
    try:
        manifest, digest = generations.verified(backup, key)
        name = task["cluster_name"]
        reasons = [generations.foreign(manifest, name)] if name and name != manifest["cluster_name"] else []
        reasons += generations.unsound(backup, manifest, key)
    except BackupError as error:
        reasons = [str(error)]
    refuse(backup, reasons)
    summary = ", ".join(f"{n} {entry['bytes'] / 1e6:.1f} MB" for n, entry in manifest["files"].items())
    said = [f"{backup}: {manifest['cluster_name']}, k3s {manifest['k3s_version']}, {manifest['datastore']}, {summary}"]
    return {
        "changed": False,
        "msg": [*said, *filter(None, [differs(manifest["checkout"], checkout())])],
        "backup": str(backup),
        "manifest": manifest,
        "marker": f"{manifest['created']} {digest}",
        # An export without a file needs no restore.
        "data": bool(manifest["files"].get(archive.DATA, {}).get("files")),
    }


def refuse(backup: Path, reasons: list[str]) -> None:
    """Raises AnsibleActionFail when there are reasons against a restore."""
    if reasons:
        text = "\n".join(f"  {reason}" for reason in reasons)
        raise AnsibleActionFail(f"{backup} is not restored, nothing was changed:\n{text}")


def control(task: dict[str, Any], pretend: bool) -> dict[str, Any]:
    """What a control node needs, where it has nothing: a part of the backup to each target."""
    key, path = read_key(task["identity"]), Path(task["directory"]) / archive.CONTROL
    written, messages = [], []
    for part, target in task["targets"].items():
        if "," in target:
            continue
        put, kept = control_node.put(path, key, part, Path(target), pretend)
        written += [target] if put else []
        if kept:
            some = ", ".join(kept[:10]) + (", ..." if len(kept) > 10 else "")
            messages.append(
                f"{target} is kept, though it is not as in the backup: {some}. To have that of the backup, move it "
                "away and run this again"
            )
    word = "would be restored" if pretend else "restored"
    return {"changed": bool(written), "msg": [*(f"{each}: {word}" for each in written), *messages]}


def check(task: dict[str, Any]) -> dict[str, Any]:
    """Check whether a verified backup can be restored here. Fails with every reason against it."""
    expect, manifest, backup = task["expect"], task["manifest"], Path(task["directory"])
    reasons = list(generations.unfit(manifest, expect["cluster_name"], expect["k3s_version"], int(expect["servers"])))
    over = expect["over"]
    if over and over != expect["cluster_name"]:
        reasons.append(f"restore_over is {over}, this cluster is {expect['cluster_name']}: write that name to confirm")
    refuse(backup, reasons)
    there = Path(expect["token_file"])
    inner = archive.inside(backup / archive.SERVER, read_key(task["identity"]))
    # Another token is of another generation of the cluster; its secrets must not be lost here.
    if not over and there.is_file() and there.read_text().strip() not in ("", archive.password_of(inner)):
        refuse(
            backup,
            [
                f"{there} is of another cluster than this backup: move {there.parent} away, and it is restored as "
                f"well; or write -e restore_over={expect['cluster_name']}"
            ],
        )
    apis = running_apis(expect["apis"])
    if foreign_apis := [api for api, ca in apis.items() if ca != manifest["ca_sha256"]]:
        refuse(
            backup,
            [
                f"{', '.join(foreign_apis)}: a cluster with another CA is running there, whose agents could not join: "
                "run playbooks/reset.yml first"
            ],
        )
    return {"changed": False, "running": sorted(apis), "reachable": reachable(expect["ssh_ports"])}


def token(task: dict[str, Any], pretend: bool) -> dict[str, Any]:
    """The secrets of the backup's cluster on the control node; others are kept beside them."""
    backup, expect = Path(task["directory"]), task["expect"]
    found = archive.inside(backup / archive.SERVER, read_key(task["identity"]))
    if not archive.password_of(found):
        raise AnsibleActionFail(f"{backup / archive.SERVER} holds no token")
    wanted = {"token": expect["token_file"], "agent-token": expect["agent_token_file"]}
    changed = [
        put_secret(Path(path), archive.password_of(found, name), backup.name, pretend) for name, path in wanted.items()
    ]
    return {"changed": any(changed)}


def put_secret(path: Path, wanted: str, backup: str, pretend: bool) -> bool:
    """A secret in its file; whether that changed it. Another one that was there is kept beside it."""
    before = path.read_text().strip() if path.is_file() else ""
    if before == wanted or pretend:
        return before != wanted
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if before:
        path.rename(path.with_name(f"{path.name}.before-{backup}"))
    if wanted:
        write_text(path, wanted + "\n", 0o600)
    return True


class ActionModule(Action):
    """What Ansible asks an action plugin for."""

    def act(self, task: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Do what `do` says."""
        pretend = bool(self._task.check_mode)
        show = self._display.display
        if task["do"] in ("make", "send", "move") and pretend:
            # A backup changes nothing on the cluster; a restore would.
            return {"changed": task["do"] != "make", "msg": f"would {task['do']} a backup"}
        for part in [*task["parts"], task["part"]] if task["part"] else task["parts"]:
            part["ssh"]["password"] = become_password(self, variables, part["ssh"]["name"])
        try:
            match task["do"]:
                case "make":
                    return make(task, show)
                case "open":
                    return open_backup(task)
                case "control":
                    return control(task, pretend)
                case "check":
                    return check(task)
                case "token":
                    return token(task, pretend)
                case "move":
                    source, target = task["parts"]
                    return move(source, target, task["timeout"], show)
            return send(task, show)
        except (BackupError, Refused) as error:
            raise AnsibleActionFail(f"{task['directory']}: {error}") from None
        except OSError as error:
            # Such as a disk that is full, or a directory of another user.
            raise AnsibleActionFail(
                f"{error.filename or task['directory']}: {error.strerror or error}, on the control node: the disk of "
                f"{task['directory']} needs room, and this user the right to write there"
            ) from None
