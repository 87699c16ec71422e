"""The control node: does it have everything that the run needs? Nothing here changes anything."""

from __future__ import annotations

import importlib.util
import ipaddress
import shlex
import shutil
import socket
import sys
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from ..command import run
from ..flash.gate import is_block_path, is_link_of_card
from ..flash.ssh import effective, jump_host, key_problem
from ..k3s.networks import api_port
from ..network import source_address
from . import connection, image_builder, paths
from .model import Host, Inventory, Place, Report
from .networks import address
from .shared import REFUSED
from .suggest import did_you_mean

#: A second board with the same value would be another board's, or its card would be written twice.
_OF_ONE_BOARD = ("flash_card", "flash_card_serial", "flash_host_key_fingerprint", "k3s_node_ip", "k3s_node_name")


@dataclass(frozen=True)
class Needs:
    """What a run needs of the control node: the role's variables of the same names."""

    ansible_core: str
    programs: list[dict[str, str]]
    python_packages: list[str]
    networks: list[str]
    cache_free_mb: int
    check_urls: bool
    url_timeout: float
    hint: str


def check_ansible(version: str, oldest: str, report: Report) -> None:
    """Report an ansible-core that is older than the series `oldest`, such as 2.19."""
    if [int(part) for part in version.split(".")[:2]] < [int(part) for part in oldest.split(".")]:
        report.here(
            "ansible-core",
            f"this project requires ansible-core {oldest} or newer",
            "run it from the virtual environment that `make` sets up from requirements.txt",
            version,
        )


def check_configuration(read: str | None, checkout: Path, settings: Mapping[str, Any], report: Report) -> None:
    """Report another ansible.cfg than the checkout's: without it runs are neither locked nor stopped at an error.

    `settings` are those of connection.SETTINGS and connection.PLUGINS, as Ansible has them.

    Ansible looks for it in the current directory, and leaves it out where others may write to that.
    """
    for folder in ("group_vars", "host_vars", "playbooks/group_vars", "playbooks/host_vars"):
        if (checkout / folder).is_dir():
            remedy = f"move its files to {Path(folder).name} beside the inventory's hosts"
            report.add(Place(str(checkout / folder)), "variables", None, "no play would read all of them", remedy)
    own = checkout / "ansible.cfg"
    if read and Path(read).resolve() == own.resolve():
        connection.check_settings(settings, report)
        return
    problem = f"not read: Ansible uses {read}" if read else f"not read: the current directory is {Path.cwd()}"
    remedy = f"run it in {checkout}, or export ANSIBLE_CONFIG={own}"
    if Path("ansible.cfg").resolve() == own.resolve() and Path.cwd().stat().st_mode & 0o002:
        problem, remedy = f"not read: every user may write to {Path.cwd()}", f"run `chmod o-w {Path.cwd()}`"
    report.add(Place(str(own)), "configuration", None, problem, remedy)


def check(inventory: Inventory, scope: Iterable[str], needs: Needs, report: Report) -> None:
    """Report programs, packages and rights that are missing for a run on the hosts in `scope`."""
    boards = in_scope(inventory, scope)
    _command_line(inventory, boards, report)
    _programs(boards, needs, report)
    image_builder.check(boards, report)
    _interpreter(inventory, needs, report)
    _login_keys(boards, report)
    _ssh(inventory, report)
    _proxies(inventory, report)
    _route(inventory, report)
    paths.check(inventory, report)
    for package in needs.python_packages:
        if importlib.util.find_spec(package) is None:
            report.here(
                package,
                "this Python package is missing",
                "run from the virtual environment that `make` sets up from requirements.txt",
            )


def check_networks(needs: Needs, report: Report) -> None:
    """Report networks that this machine has no interface in: packets to them would leave by the default route.

    Sends nothing. `needs.networks` are CIDR texts, such as 10.77.0.0/24.
    """
    for text in needs.networks:
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            report.here("preflight_networks", str(error), "write a network such as 192.168.1.0/24", text)
            continue
        source = source_address(str(network[1]))
        if source is None or ipaddress.ip_address(source) not in network:
            problem = "the control node has no address in this network of the boards"
            hint = needs.hint or "connect the control node to the boards' network"
            report.here("preflight_networks", problem, hint, text)


def check_whole(inventory: Inventory, scope: Iterable[str], limit: str, report: Report) -> None:
    """Report a limit that leaves out a part of the cluster, or the control node, which works for all of it."""
    wanted = [host.name for host in inventory.members("cluster")] + ["localhost"] * ("localhost" in inventory.hosts)
    if left_out := ", ".join(sorted(set(wanted) - set(scope))):
        problem = f"leaves out {left_out}, and this playbook changes the cluster as a whole"
        report.add(Place("ansible-playbook"), "--limit", limit or None, problem, "omit it")


def check_limit(limit: str | None, unmatched: Iterable[str], inventory: Inventory, report: Report) -> None:
    """Report a limit that is empty, and parts of it that match nothing: Ansible would only warn of them.

    `unmatched` are those parts; `!pi-o3` excludes nothing, so that pi-03 would be worked on.
    """
    if limit is not None and not limit.strip():
        problem = "empty, so that it limits nothing"
        report.add(Place("ansible-playbook"), "--limit", "", problem, "name hosts or groups, or omit it")
    for part in unmatched:
        # Where there is a comma, Ansible splits at commas alone.
        otherwise = "have commas between all parts" if ":" in part else "name hosts and groups of the inventory"
        remedy = did_you_mean(part, [*inventory.hosts, *inventory.groups], otherwise)
        problem = f"no host or group is named {part}"
        report.add(Place("ansible-playbook"), "--limit", limit, problem, remedy)


def in_scope(inventory: Inventory, scope: Iterable[str]) -> list[Host]:
    """The boards of a play; those of the cluster if the play has none (it runs on the control node alone)."""
    names = set(scope)
    return [host for host in inventory.boards() if host.name in names] or inventory.members("cluster")


def _programs(boards: list[Host], needs: Needs, report: Report) -> None:
    for need in needs.programs:
        variable = need.get("when_set")
        if variable and not any(host.get(variable) for host in boards):
            continue
        if shutil.which(need["program"]) is None:
            report.here(
                need["program"],
                f"not installed, but needed to {need['purpose']}",
                f"install the Debian package {need['package']}",
            )


def _shared_by_boards(boards: list[Host], report: Report) -> None:
    """Report what is a board's own, but was given with -e for several at once. They may share a card reader."""
    if len(boards) < 2:
        return
    card = str(boards[0].get("flash_card", ""))
    reader = is_block_path(card) and not is_link_of_card(card)
    for name in _OF_ONE_BOARD:
        setting = boards[0].settings.get(name)
        if setting is None or not setting.from_command_line or setting.value in ("", None):
            continue
        if name.startswith("flash_card") and reader:
            continue
        remedy = "name one board with -l, or write it for each in the inventory"
        problem = f"the {len(boards)} boards of this run would share it"
        if name.startswith("flash_card") and is_link_of_card(card):
            problem += ", and a built-in reader has another link and serial number for each card"
            remedy = "insert the card of one board, and name that board with -l"
        report.add(setting.place, name, setting.value, problem, remedy)


def _command_line(inventory: Inventory, boards: list[Host], report: Report) -> None:
    """Report what was given with -e for several boards at once, or for one that the run leaves out."""
    _shared_by_boards(boards, report)
    setting = boards[0].settings.get("flash_reflash") if boards else None
    if setting and setting.from_command_line:
        known = {host.name for host in boards}
        # One that there is not is reported elsewhere.
        names = setting.value if isinstance(setting.value, list) else []
        left_out = [each for each in names if each in inventory.hosts and each not in known]
        if left_out:
            problem = f"--limit leaves out {', '.join(left_out)}"
            report.add(setting.place, "flash_reflash", setting.value, problem, "name the same boards in both")


def _interpreter(inventory: Inventory, needs: Needs, report: Report) -> None:
    """Report a Python of localhost that lacks the packages of its tasks."""
    control = inventory.hosts.get("localhost")
    setting = control.settings.get("ansible_python_interpreter") if control else None
    if control is None or setting is None or not isinstance(setting.value, str) or setting.value == sys.executable:
        return
    code = "import sys, importlib.util as u; sys.exit(not all(u.find_spec(each) for each in sys.argv[1:]))"
    if run(setting.value, "-c", code, *needs.python_packages, timeout=20).status:
        packages = ", ".join(needs.python_packages)
        remedy = "write '{{ ansible_playbook_python }}'"
        report.setting(control, setting, f"no Python that has the packages {packages}", remedy)


def _ssh(inventory: Inventory, report: Report) -> None:
    """Report what ssh's arguments or ~/.ssh/config say of a board, and stages that look for its port would not know."""
    for host in inventory.boards() if shutil.which("ssh") else []:
        setting = host.settings.get("ansible_host")
        args = _ssh_args(host)
        is_text = isinstance(host.get("ansible_ssh_common_args", ""), str) and connection.is_command_line(args)
        secrets = str(host.get("cluster_secrets_dir", "/nonexistent"))
        is_path = not REFUSED["cluster_secrets_dir"][0].search(secrets)
        if setting is None or address(setting.value) is None or not is_text or not is_path:
            continue  # reported elsewhere
        port = ["-p", str(ssh_port(host))] if host.get("ansible_port") else []
        values, refused = effective(setting.value, [*port, *shlex.split(args)])
        where = "ansible_ssh_common_args or ~/.ssh/config"
        if refused:
            report.setting(host, setting, f"ssh does not accept {where} ({refused})", "correct them: `ssh -G` shows it")
            continue
        if values["port"] != str(ssh_port(host)):
            problem = f"{where} has port {values['port']}, which not all stages would use"
            report.setting(host, setting, problem, f"write ansible_port: {values['port']}")
        if values["hostname"] != setting.value:
            problem = f"{where} has the host name {values['hostname']} for it, which not all stages would use"
            report.setting(host, setting, problem, f"write ansible_host: {values['hostname']}")
        known = str(Path(secrets) / "known_hosts")
        if values.get("stricthostkeychecking") in ("true", "ask") and known not in values["userknownhostsfile"].split():
            problem = "Ansible would not look for its host key where the first stage writes it"
            remedy = f"add -o UserKnownHostsFile={known} to it, as inventory/example has it"
            if written := host.settings.get("ansible_ssh_common_args"):
                report.setting(host, written, problem, remedy)
            else:
                report.missing(host, "ansible_ssh_common_args", f"write it as -o UserKnownHostsFile={known}")
        folder = Path(values.get("controlpath", "/")).parent
        if "controlpath" in args.lower() and not folder.is_dir():
            report.setting(host, setting, f"there is no directory {folder} for its ControlPath", "omit ControlPath")


def _ssh_args(host: Host) -> str:
    return " ".join(str(host.get(name) or "") for name in ("ansible_ssh_common_args", "ansible_ssh_extra_args"))


def _proxies(inventory: Inventory, report: Report) -> None:
    """Report a proxy of the environment that requests to the cluster's own API would be sent to."""
    proxies = urllib.request.getproxies()
    servers = [str(host.get("ansible_host")) for host in inventory.members("k3s_servers") if host.get("ansible_host")]
    asked = [each for each in servers if not urllib.request.proxy_bypass(each)]
    for scheme in ("https", "all"):
        if asked and scheme in proxies:
            bypass = ",".join(filter(None, (proxies.get("no"), *asked)))
            problem = f"requests to the cluster's API at {', '.join(asked)} would be sent to this proxy"
            report.here(f"{scheme}_proxy", problem, f"export no_proxy={bypass} NO_PROXY={bypass}", "(not shown)")
            return


def _route(inventory: Inventory, report: Report) -> None:
    """Report a server that only ssh reaches, through a jump host: requests to the cluster's API have no such way."""
    for host in inventory.members("k3s_servers"):
        own = str(host.get("ansible_host"))
        args = _ssh_args(host)
        if shutil.which("ssh") is None or not connection.is_command_line(args):
            continue  # reported elsewhere
        jump, port = jump_host(own, shlex.split(args)), api_port(host.get("k3s_server_config"))
        if jump and not _answers(own, port):
            report.setting(
                host,
                host.settings["ansible_host"],
                f"ssh reaches it through {jump}, but the cluster's API at port {port} cannot be reached so",
                "run this on a machine in the boards' network (such as the jump host), or have a route or VPN into it",
            )


def _answers(address: str, port: int) -> bool:
    """Whether packets reach an address: the port is open, or closed by that machine itself."""
    try:
        with socket.create_connection((address, port), timeout=2):
            return True
    except ConnectionRefusedError:
        return True
    except OSError:
        return False


def _login_keys(boards: list[Host], report: Report) -> None:
    """Report login keys that ssh cannot use without asking. Those that are generated have no passphrase."""
    if shutil.which("ssh-keygen") is None:
        return  # reported as a missing program
    for host in boards:
        setting = host.settings.get("ansible_ssh_private_key_file")
        if setting is None or not isinstance(setting.value, str) or not setting.value:
            continue
        made = PurePath(setting.value).is_relative_to(str(host.get("cluster_secrets_dir", "/nonexistent")))
        if not made and (problem := key_problem(setting.value)):
            report.setting(host, setting, *problem)


def ssh_port(host: Host) -> int:
    """The port of a board's ssh server; another one than a number is reported elsewhere."""
    port = str(host.get("ansible_port", 22))
    return int(port) if port.isascii() and port.isdecimal() else 22
