#!/usr/bin/python
"""Ansible module: uninstall k3s from this board, and remove nothing else."""

# Runs on the board with the board's Python and nothing but the standard library.

from __future__ import annotations

DOCUMENTATION = r"""
module: k3s_clean
short_description: Stop k3s on this board, or uninstall it
description:
  - Follows the order of k3s's own killall and uninstall scripts; units, shims and pods, mounts, network, packet filter,
    cgroups, files. Unlike them it also removes the node's password, logs of pods, and routes to other nodes' pods.
  - Inspects first; what is absent is not touched. Inspects again at the end, and fails with what is left.
options:
  parts:
    description:
      - V(units) only stops and disables the units; V(all) leaves nothing.
      - V(pods) stops the units and ends all pods with their network, leases of addresses and mounts, as k3s's killall
        script does. The node stays one of its cluster, and makes its pods anew when the unit is started.
    type: str
    choices: [units, pods, all]
    default: all
  binary:
    description: Where the k3s binary is.
    type: path
    required: true
  data_dir:
    description: The data directory of k3s. A disk that is mounted there stays mounted, and is emptied.
    type: path
    required: true
  pod_networks:
    description: Networks of pods; routes into them go.
    type: list
    elements: str
    required: true
author: Edge AI Cluster
"""

EXAMPLES = r"""
- name: Uninstall k3s
  edge_ai.cluster.k3s_clean:
    binary: /usr/local/bin/k3s
    data_dir: /var/lib/rancher/k3s
    pod_networks: [10.42.0.0/16]
"""

RETURN = r"""
found: {description: "What was there, by kind, before anything was done.", type: dict, returned: always}
"""

import contextlib
import ipaddress
import os
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edge_ai.cluster.plugins.module_utils.command import ip, run, unit
from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s.local import COMMANDS
from ansible_collections.edge_ai.cluster.plugins.module_utils.mounts import unescaped

UNITS = ("k3s", "k3s-agent")
#: Created by k3s alone.
INTERFACES = ("cni0", "flannel.1", "flannel-v6.1", "kube-ipvs0", "flannel-wg", "flannel-wg-v6")
#: What iptables rules and chains of kube-proxy, the CNI plugins and flannel have in common.
RULE = re.compile(r"KUBE-|CNI-|flannel", re.IGNORECASE)
#: Sets of addresses for the rules of network policies: for IPv4, for IPv6, and unfinished ones.
SET = re.compile(r"(inet6:)?KUBE-(SRC|DST)-|TMP-[A-Z2-7]{16}$")
CGROUPS = Path("/sys/fs/cgroup")
#: Directories that k3s fills; the data directory comes on top.
DIRECTORIES = (
    "/etc/rancher/k3s", "/etc/rancher/node", "/run/k3s", "/run/flannel", "/var/lib/cni", "/var/lib/kubelet",
    "/var/log/pods", "/var/log/containers",
)  # fmt: skip
#: Of these, what belongs to the network of pods.
NETWORK = ("/run/flannel", "/var/lib/cni")
#: In the data directory: k3s writes it at each start (the lab's k3s under the second name). Until then it names the old
#: network, and a pod that is started with it gives the bridge an address of that one.
CNI = ("agent/etc/cni/net.d/10-flannel.conflist", "agent/etc/cni/net.d/10-k3s.conflist")
#: Directories that only go when they are empty then.
PARENTS = ("/etc/rancher", "/var/lib/rancher")


def is_below(path: str, directory: str) -> bool:
    """Whether a path is that directory or lies in it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def mounts_of(mountinfo: str, prefixes: list[str], kept: list[str]) -> list[str]:
    """Mount points under `prefixes` in the text of /proc/self/mountinfo, the deepest first.

    `kept` are directories whose own mount is the operator's (a disk for k3s's data) and stays. The prefix of network
    namespaces of pods is one of a name, not of a directory.
    """
    found: dict[str, int] = {}
    for line in mountinfo.splitlines():
        point = unescaped(line.split()[4])
        if point not in kept and (
            any(is_below(point, prefix) for prefix in prefixes) or point.startswith("/run/netns/cni-")
        ):
            found[point] = found.get(point, 0) + 1
    order = sorted(found, key=lambda point: point.count("/"), reverse=True)
    # Something mounted twice at one place has to be unmounted twice.
    return [point for point in order for _ in range(found[point])]


def without_rules(saved: str) -> str | None:
    """The text of iptables-save without what k3s's parts put there; None when there is nothing of theirs in it."""
    kept = [line for line in saved.splitlines() if not RULE.search(line)]
    return "\n".join(kept) + "\n" if len(kept) < len(saved.splitlines()) else None


def rules_of_others(program: str) -> str | None:
    """The same for what iptables, or ip6tables, has now; None also when it cannot be read."""
    done = run(f"{program}-save")
    return without_rules(done.output) if done.status == 0 else None


def routes_into(routes: list[dict[str, Any]], networks: list[str]) -> list[str]:
    """Destinations of `ip -json route` that lie in one of the networks."""
    wanted = [ipaddress.ip_network(network) for network in networks]
    found = []
    for route in routes:
        try:
            target = ipaddress.ip_network(str(route.get("dst", "")))
        except ValueError:
            continue
        for network in wanted:
            # A default route contains them; it is not in them.
            if target.version == network.version and target.subnet_of(network):  # type: ignore[arg-type]
                found.append(str(route["dst"]))
    return found


def own_tree(processes: dict[int, dict[str, Any]], binary: str, data_dir: str) -> list[int]:
    """Processes of k3s, its shims and everything in its pods, given {pid: {parent, exe, arguments, cgroup}}."""
    roots = set()
    for pid, process in processes.items():
        exe = process["exe"].removesuffix(" (deleted)")
        # A shim of a bundle that was replaced shows its path only in its arguments.
        ours = exe == binary or any(is_below(path, f"{data_dir}/data") for path in (exe, process["arguments"]))
        if ours or "kubepods" in process["cgroup"]:
            roots.add(pid)
    found: set[int] = set()
    while roots - found:
        found |= roots
        roots |= {pid for pid, process in processes.items() if process["parent"] in found}
    return sorted(found)


def processes() -> dict[int, dict[str, Any]]:
    """All processes that have a program (no kernel threads)."""
    result: dict[int, dict[str, Any]] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            # The name, in brackets, may hold anything; the state and the parent follow it.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            exe = os.readlink(folder / "exe")  # noqa: PTH115 - a string with its "(deleted)"
            arguments = (folder / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
            cgroup = (folder / "cgroup").read_text()
        except OSError:
            continue
        if fields[0] != "Z":
            result[int(folder.name)] = {
                "parent": int(fields[1]), "exe": exe, "arguments": arguments, "cgroup": cgroup,
            }  # fmt: skip
    return result


class Board:
    """What there is of k3s on this board, and its removal."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.binary: str = params["binary"]
        self.data_dir: str = params["data_dir"].rstrip("/")
        self.pod_networks: list[str] = params["pod_networks"]
        # k3s brings ipset, and iptables for a board that has none.
        bundled = [str(path) for path in Path(self.data_dir).glob("data/*/bin")]
        bundled += [f"{path}/aux" for path in bundled]
        os.environ["PATH"] = ":".join([os.environ.get("PATH", os.defpath), *bundled])
        self.programs = [name for name in ("iptables", "ip6tables") if shutil.which(name)]

    # --- inspect ---

    def active_units(self) -> list[str]:
        """Units that run or would run after a boot."""
        found = []
        for name in UNITS:
            state = unit(f"{name}.service", "ActiveState,UnitFileState")
            running = state.get("ActiveState", "inactive") not in ("inactive", "failed")
            if running or state.get("UnitFileState") == "enabled":
                found.append(name)
        return found

    def own_processes(self) -> list[int]:
        """Processes of k3s and its pods, less this module and what called it."""
        everything = processes()
        mine, pid = set(), os.getpid()
        while pid in everything:
            mine.add(pid)
            pid = everything[pid]["parent"]
        return [pid for pid in own_tree(everything, self.binary, self.data_dir) if pid not in mine]

    def mounts(self) -> list[str]:
        """Mount points of pods and containers."""
        prefixes = ["/run/k3s", "/var/lib/kubelet", "/run/flannel", self.data_dir]
        text = Path("/proc/self/mountinfo").read_text()
        return mounts_of(text, prefixes, [self.data_dir, "/var/lib/kubelet"])

    def interfaces(self) -> list[str]:
        """Links of pods on the bridge, then the bridge and the overlays."""
        links = ip("link", "show")
        ports = [link["ifname"] for link in links if link.get("master") == "cni0"]
        return ports + [link["ifname"] for link in links if link["ifname"] in INTERFACES]

    def routes(self) -> list[str]:
        """Routes to pods, here or on other nodes; `-6` is the same for IPv6."""
        return routes_into(ip("-4", "route", "show") + ip("-6", "route", "show"), self.pod_networks)

    def rules(self) -> list[str]:
        """Programs whose tables hold rules or chains of k3s's parts, and tables of kube-proxy's nftables mode."""
        found = [program for program in self.programs if rules_of_others(program) is not None]
        if shutil.which("nft"):
            found += re.findall(r"^table (ip6? kube-proxy)$", run("nft", "list", "tables").output, re.MULTILINE)
        return found

    def sets(self) -> list[str]:
        """Sets of addresses that network policies left."""
        return [name for name in run("ipset", "list", "-name").output.splitlines() if SET.match(name)]

    def namespaces(self) -> list[str]:
        """Network namespaces of pods."""
        return sorted(str(path) for path in Path("/run/netns").glob("cni-*"))

    def cgroups(self) -> list[str]:
        """Cgroups of pods, the innermost first."""
        tops = [path for path in (*CGROUPS.glob("kubepods*"), *CGROUPS.glob("*/kubepods*")) if path.is_dir()]
        found = [Path(folder) for top in tops for folder, _, _ in os.walk(top)]
        return [str(path) for path in sorted(found, key=lambda path: len(path.parts), reverse=True)]

    def files(self) -> list[str]:
        """Files and directories of k3s."""
        wanted = [f"/etc/systemd/system/{name}.service" for name in UNITS]
        wanted += [f"{path}.d" for path in wanted]
        found = [path for path in wanted if os.path.lexists(path)]
        folder = Path(self.binary).parent
        # A kubectl that is no link to k3s was installed by others.
        found += [str(folder / name) for name in COMMANDS if (folder / name).is_symlink()
                  and (folder / name).resolve() == Path(self.binary).resolve()]  # fmt: skip
        found += [path for path in (self.binary, *DIRECTORIES) if os.path.lexists(path)]
        data = Path(self.data_dir)
        if data.is_dir() and (not data.is_mount() or any(e.name != "lost+found" for e in data.iterdir())):
            found.append(self.data_dir)
        return found

    def inspect(self) -> dict[str, list[Any]]:
        """All that there is of k3s, by kind; kinds of which there is nothing are left out."""
        everything: dict[str, list[Any]] = {
            "units": self.active_units(),
            "processes": self.own_processes(),
            "mounts": self.mounts(),
            "network namespaces": self.namespaces(),
            "interfaces": self.interfaces(),
            "routes": self.routes(),
            "packet filter": self.rules(),
            "address sets": self.sets(),
            "cgroups": self.cgroups(),
            "files": self.files(),
        }
        return {kind: found for kind, found in everything.items() if found}

    def inspect_pods(self) -> dict[str, list[Any]]:
        """What there is of pods and of their network, by kind."""
        kinds = ("mounts", "network namespaces", "interfaces", "cgroups")
        found = {kind: each for kind, each in self.inspect().items() if kind in kinds}
        return found | ({"files": left} if (left := self.network_files()) else {})

    def network_files(self) -> list[str]:
        """Files and directories that belong to the network of pods."""
        wanted = [*NETWORK, *(f"{self.data_dir}/{name}" for name in CNI)]
        return [path for path in wanted if os.path.lexists(path)]

    # --- remove ---

    def stop_units(self, *command: str) -> str:
        """Stop the units by a command of systemctl; what went wrong, empty when nothing did."""
        for name in self.active_units():
            done = run("systemctl", *command, f"{name}.service", timeout=180)
            if done.status:
                return f"{name}.service cannot be stopped: {(done.output + done.errors).strip()}"
        return ""

    def kill(self) -> None:
        """End all processes; again, because a shim may have started one meanwhile."""
        end = time.monotonic() + 20
        while (pids := self.own_processes()) and time.monotonic() < end:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.3)

    def unmount(self) -> None:
        """Unmount; by force where a server no longer answers."""
        for point in self.mounts():
            if run("umount", point, timeout=20).status:
                run("umount", "-f", "-l", point, timeout=20)

    def clear_network(self) -> None:
        """Remove namespaces, interfaces, routes and rules."""
        for path in self.namespaces():
            run("ip", "netns", "delete", Path(path).name)
            Path(path).unlink(missing_ok=True)
        for name in self.interfaces():
            # The peer of a link that is gone already has gone with it.
            run("ip", "link", "delete", name)
        for target in self.routes():
            run("ip", "-6" if ":" in target else "-4", "route", "delete", target)
        for program in self.rules():
            if program in self.programs:
                if (kept := rules_of_others(program)) is not None:
                    run(f"{program}-restore", "--wait", text=kept)
            else:
                run("nft", "delete", "table", *program.split())
        # The kernel lets go of a set some time after the last rule that used it.
        end = time.monotonic() + 10
        while (names := self.sets()) and time.monotonic() < end:
            for name in names:
                run("ipset", "destroy", name)
            time.sleep(0.2)

    def clear_cgroups(self) -> None:
        """Remove the cgroups, which systemd made, by way of systemd; what it does not know of, manually."""
        if self.cgroups():
            run("systemctl", "stop", "kubepods.slice")
        for path in self.cgroups():
            try:
                Path(path).rmdir()
            except OSError:
                continue  # reported at the end
        run("systemctl", "reset-failed", "cri-containerd-*.scope", "kubepods*")

    def remove_files(self) -> None:
        """Delete files; a disk that is mounted at the data directory is emptied."""
        for name in self.files():
            path = Path(name)
            if path.is_symlink() or not path.is_dir():
                path.unlink(missing_ok=True)
            elif path.is_mount():
                for entry in path.iterdir():
                    if entry.name != "lost+found":
                        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
            else:
                shutil.rmtree(path, ignore_errors=True)
        for name in PARENTS:
            try:
                Path(name).rmdir()
            except OSError:
                continue
        run("systemctl", "daemon-reload")
        run("systemctl", "reset-failed", *(f"{name}.service" for name in UNITS))

    def end_pods(self, *command: str) -> str:
        """Stop the units, end pods, and remove their network. What went wrong; empty when nothing did."""
        if problem := self.stop_units(*command):
            return problem
        self.kill()
        self.unmount()
        self.clear_network()
        self.clear_cgroups()
        # Deleting through a mount that is still there would delete what was mounted.
        if left := self.mounts():
            return (
                f"still mounted: {', '.join(left)}; nothing was deleted. `fuser -vm` shows what uses it; then run again"
            )
        return ""

    def clean_pods(self) -> str:
        """All of pods, and nothing else. What went wrong; empty when nothing did."""
        problem = self.end_pods("stop")
        for path in map(Path, self.network_files() if not problem else ()):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return problem

    def clean(self) -> str:
        """All of it, in the order of k3s's own scripts. What went wrong; empty when nothing did."""
        if problem := self.end_pods("disable", "--now"):
            return problem
        self.remove_files()
        left_over = self.inspect()
        text = "; ".join(f"{kind}: {', '.join(map(str, found[:8]))}" for kind, found in left_over.items())
        return f"k3s is not completely removed, left are {text}. Reboot the board, then run again" if text else ""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "parts": {"type": "str", "choices": ["units", "pods", "all"], "default": "all"},
            "binary": {"type": "path", "required": True},
            "data_dir": {"type": "path", "required": True},
            "pod_networks": {"type": "list", "elements": "str", "required": True},
        },
        supports_check_mode=True,
    )
    data_dir = Path(module.params["data_dir"])
    if len(data_dir.parts) < 4 or ".." in data_dir.parts or data_dir.is_symlink():
        module.fail_json(
            msg=f"k3s_data_dir is {data_dir}: write a directory that only k3s uses, such as /var/lib/rancher/k3s"
        )
    board = Board(module.params)
    parts = module.params["parts"]
    inspect, do = {
        "units": (lambda: {"units": board.active_units()}, lambda: board.stop_units("disable", "--now")),
        "pods": (board.inspect_pods, board.clean_pods),
        "all": (board.inspect, board.clean),
    }[parts]
    found = inspect()
    changed = any(found.values())
    if changed and not module.check_mode:
        problem = do()
        if problem:
            module.fail_json(msg=problem, found=found)
    before = "".join(f"{kind}: {one}\n" for kind, each in found.items() for one in each)
    module.exit_json(changed=changed, found=found, diff={"before": before, "after": ""})


if __name__ == "__main__":
    main()
