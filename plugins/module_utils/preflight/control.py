"""The control node: does it have everything that the run needs? Nothing here changes anything."""

from __future__ import annotations

import getpass
import importlib.util
import ipaddress
import os
import shlex
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from ..container_image import base
from ..container_image.inputs import ARCHITECTURES, ImageError, Inputs, tag
from ..flash.ssh import effective, jump_host, key_problem
from . import connection
from .links import is_url
from .model import Host, Inventory, Place, Report
from .suggest import did_you_mean

HERE = Place("control node")
_BUILDERS = ("buildah", "podman", "docker")
#: A second board with the same value would be another board's, or its card would be written twice.
_OF_ONE_BOARD = ("flash_card", "flash_card_serial", "flash_host_key_fingerprint", "k3s_node_ip", "k3s_node_name")
#: Fields of Inputs, what their variables' names end in, and the role's defaults.
_BASE = (("base", "", ""), ("source", "_source", "registry"), ("suite", "_suite", "trixie"))
_SUBORDINATE = (Path("/etc/subuid"), Path("/etc/subgid"))
# The default of manifests_source: k8s/ beside the roles.
_MANIFESTS = Path(__file__).resolve().parents[3] / "k8s"
_CONTEXT = _MANIFESTS.parent / "docker"
# The names under which kustomize looks for a directory's file.
_KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")


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
        report.add(
            HERE,
            "ansible-core",
            version,
            f"this project requires ansible-core {oldest} or newer",
            "run it from the virtual environment that `make` sets up from requirements.txt",
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
    _command_line(boards, report)
    _programs(boards, needs, report)
    _interpreter(inventory, needs, report)
    _login_keys(boards, report)
    _ssh(inventory, report)
    _proxies(inventory, report)
    _route(inventory, report)
    _context(inventory, report)
    for package in needs.python_packages:
        if importlib.util.find_spec(package) is None:
            report.add(
                HERE,
                package,
                None,
                "this Python package is missing",
                "run from the virtual environment that `make` sets up from requirements.txt",
            )
    for name in ("cluster_cache_dir", "cluster_secrets_dir", "cluster_results_dir", "cluster_backups_dir"):
        folders = {(str(setting.value), setting.place) for _host, setting in inventory.settings(name)}
        for folder, place in sorted(folders):
            existing = nearest_existing(Path(folder))
            if not existing.is_dir():
                report.add(place, name, folder, f"{existing} is not a directory", "write a directory's path")
            elif not os.access(existing, os.W_OK | os.X_OK):
                report.add(place, name, folder, f"{existing} is not writable", "write a directory that you own")
    _overlays(inventory, report)
    _certificates(inventory, report)


def check_networks(needs: Needs, report: Report) -> None:
    """Report networks that this machine has no interface in: packets to them would leave by the default route.

    Sends nothing. `needs.networks` are CIDR texts, such as 10.77.0.0/24.
    """
    for text in needs.networks:
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            report.add(HERE, "preflight_networks", text, str(error), "write a network such as 192.168.1.0/24")
            continue
        source = source_address(str(network[1]))
        if source is None or ipaddress.ip_address(source) not in network:
            report.add(
                HERE,
                "preflight_networks",
                text,
                "the control node has no address in this network of the boards",
                needs.hint or "connect the control node to the boards' network",
            )


def source_address(target: str) -> str | None:
    """This machine's address on the route to `target`, or None without one; connecting a UDP socket sends nothing."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((target, 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def check_downloads(inventory: Inventory, scope: Iterable[str], needs: Needs, report: Report) -> None:
    """Report unreachable URLs and a full disk, if something must still be downloaded.

    Uses the network, and so needs a valid inventory: boards are checked for an open ssh port (a running board is
    not flashed), URLs for the headers of one file.
    """
    boards = in_scope(inventory, scope)
    to_flash = _to_flash(boards, inventory)
    wanted = _missing_images(to_flash, inventory) + _missing_releases(boards, inventory)
    prepared = [host for host in to_flash if _setting(host, inventory, "card_image_parts") and not _is_prepared(host)]
    prepared_mb = max((_setting(host, inventory, "card_image_cache_free_mb") or 0 for host in prepared), default=0)
    _disk(inventory, needs, bool(wanted) or not all(map(_image_is_cached, boards)), prepared_mb, report)
    if not wanted or not needs.check_urls:
        return
    with ThreadPoolExecutor(max_workers=8) as pool:
        problems = list(pool.map(lambda each: first_problem(each.candidates, needs.url_timeout), wanted))
    for download, problem in zip(wanted, problems, strict=True):
        if problem:
            remedy = needs.hint or "check the URL and the control node's network"
            report.add(download.place, download.key, download.value, problem, remedy)


@dataclass(frozen=True)
class ImageBase:
    """Where a board's container image gets its base from, and the cache; the role's variables of these names."""

    source: str
    suite: str
    cache_dir: str


def check_emulation(boards: Iterable[tuple[str, str, ImageBase]], report: Report) -> None:
    """Report boards (name, machine, base) for which this machine would have to run programs that it cannot run."""
    for name, machine, wanted in boards:
        arch = ARCHITECTURES.get(machine, machine)
        if wanted.source != "mmdebstrap" or base.tar_path(Path(wanted.cache_dir), wanted.suite, arch).is_file():
            continue
        if not base.runs_here(arch):
            report.add(
                HERE,
                "container_image_base_source",
                wanted.source,
                f"makes a base for {name}, and the scripts of its packages are for {arch}, which does not run here",
                "install the Debian packages qemu-user-static, binfmt-support and arch-test (`arch-test` must list "
                f"{arch}), or write registry",
            )
            return


def in_scope(inventory: Inventory, scope: Iterable[str]) -> list[Host]:
    """The boards of a play; those of the cluster if the play has none (it runs on the control node alone)."""
    names = set(scope)
    return [host for host in inventory.boards() if host.name in names] or inventory.members("cluster")


def nearest_existing(path: Path) -> Path:
    """The path itself or its nearest ancestor that exists; a link that leads nowhere does."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def _programs(boards: list[Host], needs: Needs, report: Report) -> None:
    for need in needs.programs:
        variable = need.get("when_set")
        if variable and not any(host.get(variable) for host in boards):
            continue
        if shutil.which(need["program"]) is None:
            report.add(
                HERE,
                need["program"],
                None,
                f"not installed, but needed to {need['purpose']}",
                f"install the Debian package {need['package']}",
            )
    for builder in sorted({str(host.get("container_image_builder", "auto")) for host in boards}):
        _builder(builder, report)
    for host in [host for host in boards if host.get("container_image_base_source") == "mmdebstrap"][:1]:
        _mmdebstrap(host, report)


def _mmdebstrap(host: Host, report: Report) -> None:
    """Report what is missing here for a base from Debian packages, for this machine's own architecture."""
    setting = host.settings["container_image_base_source"]
    if shutil.which("mmdebstrap") is None:
        report.setting(host, setting, "mmdebstrap is not installed", "install the Debian package mmdebstrap")
    wanted = host.get("container_image_builder", "auto")
    if wanted == "docker" or (wanted == "auto" and not any(map(shutil.which, ("buildah", "podman")))):
        remedy = "install the Debian package buildah, or write registry"
        report.setting(host, setting, "docker cannot take a base that is made here", remedy)
    mirror, security = (str(host.get(f"container_image_base_{name}", "")) for name in ("mirror", "security_mirror"))
    try:
        base.source_lines("", mirror, security, base.host_sources())
    except ImageError as error:
        for line in str(error).splitlines():
            name, _, problem = line.partition(": ")
            report.add(setting.place, name, None, problem, "write the archive's URL")


def _builder(wanted: str, report: Report) -> None:
    """Report a missing or unusable builder; which one is taken, module_utils/container_image decides."""
    choice = _BUILDERS if wanted == "auto" else (wanted,)
    found = next((each for each in choice if shutil.which(each)), None)
    if found is None:
        report.add(
            HERE,
            " or ".join(choice),
            None,
            "not installed, but needed to build the container image",
            f"install the Debian package {'buildah' if wanted == 'auto' else wanted}",
        )
    elif found == "docker":
        _docker(report)
    elif os.geteuid() != 0:
        _subordinate_ids(found, report)


def _docker(report: Report) -> None:
    """Docker writes an archive only with its own store of containerd, or with a builder in a container."""
    instead = "or install the Debian package buildah"
    info = _output("docker", "info", "--format", "{{.DriverStatus}}")
    builder = _output("docker", "buildx", "inspect")
    if info is None:
        user = getpass.getuser()
        remedy = f"start it (systemctl start docker), have {user} in the group docker, {instead}"
        report.add(HERE, "docker", None, "its daemon does not answer this user", remedy)
    elif builder is None:
        remedy = f"install the Debian package docker-buildx (or docker-buildx-plugin), {instead}"
        report.add(HERE, "docker buildx", None, "not installed, but needed to build the container image", remedy)
    elif "containerd.snapshotter" not in info and "docker" in builder.partition("Driver:")[2].split()[:1]:
        remedy = f"run `docker buildx create --use --driver docker-container`, {instead}"
        report.add(HERE, "docker buildx", None, "its builder of driver docker cannot write an OCI archive", remedy)


def _subordinate_ids(builder: str, report: Report) -> None:
    user = getpass.getuser()
    owners = (f"{user}:", f"{os.getuid()}:")
    for path in _SUBORDINATE:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        if not any(line.startswith(owners) for line in lines):
            remedy = f"run `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}`"
            report.add(
                Place(str(path)), user, None, f"no range, which {builder} needs for a user other than root", remedy
            )
    if shutil.which("newuidmap") is None:
        problem = f"not installed, but {builder} needs it for a user other than root"
        report.add(HERE, "newuidmap", None, problem, "install the Debian package uidmap")


def _output(*command: str) -> str | None:
    """What a command prints; None if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _command_line(boards: list[Host], report: Report) -> None:
    """Report what is a board's own, but was given with -e for several at once."""
    for name in _OF_ONE_BOARD:
        setting = boards[0].settings.get(name) if len(boards) > 1 else None
        if setting and setting.from_command_line and setting.value not in ("", None):
            remedy = "name one board with -l, or write it for each in the inventory"
            report.add(
                setting.place, name, setting.value, f"the {len(boards)} boards of this run would share it", remedy
            )


def _interpreter(inventory: Inventory, needs: Needs, report: Report) -> None:
    """Report a Python of localhost that lacks the packages of its tasks."""
    control = inventory.hosts.get("localhost")
    setting = control.settings.get("ansible_python_interpreter") if control else None
    if control is None or setting is None or not isinstance(setting.value, str) or setting.value == sys.executable:
        return
    code = "import sys, importlib.util as u; sys.exit(not all(u.find_spec(each) for each in sys.argv[1:]))"
    if _output(setting.value, "-c", code, *needs.python_packages) is None:
        packages = ", ".join(needs.python_packages)
        remedy = "write '{{ ansible_playbook_python }}'"
        report.setting(control, setting, f"no Python that has the packages {packages}", remedy)


def _ssh(inventory: Inventory, report: Report) -> None:
    """Report what ssh's arguments or ~/.ssh/config say of a board, and stages that look for its port would not know."""
    for host in inventory.boards() if shutil.which("ssh") else []:
        setting = host.settings.get("ansible_host")
        args = _ssh_args(host)
        is_text = isinstance(host.get("ansible_ssh_common_args", ""), str) and connection.is_command_line(args)
        if setting is None or not isinstance(setting.value, str) or not is_text:
            continue  # reported elsewhere
        port = ["-p", str(_port(host))] if host.get("ansible_port") else []
        values, refused = effective(setting.value, [*port, *shlex.split(args)])
        where = "ansible_ssh_common_args or ~/.ssh/config"
        if refused:
            report.setting(host, setting, f"ssh does not accept {where} ({refused})", "correct them: `ssh -G` shows it")
            continue
        if values["port"] != str(_port(host)):
            problem = f"{where} has port {values['port']}, which not all stages would use"
            report.setting(host, setting, problem, f"write ansible_port: {values['port']}")
        if values["hostname"] != setting.value:
            problem = f"{where} has the host name {values['hostname']} for it, which not all stages would use"
            report.setting(host, setting, problem, f"write ansible_host: {values['hostname']}")
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
            report.add(HERE, f"{scheme}_proxy", "(not shown)", problem, f"export no_proxy={bypass} NO_PROXY={bypass}")
            return


def _route(inventory: Inventory, report: Report) -> None:
    """Report a server that only ssh reaches, through a jump host: requests to the cluster's API have no such way."""
    for host in inventory.members("k3s_servers"):
        own = str(host.get("ansible_host"))
        args = _ssh_args(host)
        if shutil.which("ssh") is None or not connection.is_command_line(args):
            continue  # reported elsewhere
        jump = jump_host(own, shlex.split(args))
        if jump and not _answers(own, 6443):
            report.setting(
                host,
                host.settings["ansible_host"],
                f"ssh reaches it through {jump}, but the cluster's API at port 6443 cannot be reached so",
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


def _context(inventory: Inventory, report: Report) -> None:
    """Report files of the image that only their owner may read, as a checkout with umask 077 has them: so they stay."""
    folders = {Path(str(setting.value)) for _host, setting in inventory.settings("container_image_context")}
    for folder in sorted(folders or {_CONTEXT}):
        files = sorted(folder.glob("*")) if folder.is_dir() else []
        closed = [path.name for path in files if path.is_file() and not path.stat().st_mode & 0o004]
        if closed:
            problem = f"not readable for other users ({', '.join(closed[:3])}), nor would they be in the image"
            report.add(Place(str(folder)), "mode", None, problem, f"run `chmod -R go+rX {folder}`")


def _overlays(inventory: Inventory, report: Report) -> None:
    for host, setting in inventory.settings("manifests_overlay"):
        overlays = Path(host.get("manifests_source", _MANIFESTS)) / "overlays"
        folder = overlays / Path(str(setting.value)).expanduser()
        if not any((folder / name).is_file() for name in _KUSTOMIZATIONS):
            known = sorted(path.name for path in overlays.glob("*/"))
            remedy = "use " + " or ".join([*known, "the full path of a directory with an overlay"])
            problem = f"{folder} has no kustomization.yaml"
            report.setting(host, setting, problem, did_you_mean(str(setting.value), known, remedy))


def _certificates(inventory: Inventory, report: Report) -> None:
    """Report a certificate of the user's own for the Ingress that Traefik could not serve."""
    for host, setting in inventory.settings("manifests_tls_certificate_file"):
        key = str(host.get("manifests_tls_key_file") or "")
        if not setting.value:
            continue
        if not key:
            report.setting(host, setting, "has no key", "write the path of its key as manifests_tls_key_file")
        elif problem := pair_problem(Path(str(setting.value)).expanduser(), Path(key).expanduser()):
            report.setting(
                host, setting, problem, "write the paths of a certificate and its key, PEM files, the key not encrypted"
            )


def pair_problem(certificate: Path, key: Path) -> str:
    """Why two PEM files are not a certificate and its private key; empty when they are."""
    try:
        leaf = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
        private = serialization.load_pem_private_key(key.read_bytes(), password=None)
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        return f"{certificate} and {key} cannot be used: {error}"
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if leaf.public_key().public_bytes(*form) != private.public_key().public_bytes(*form):
        return f"{key} is the key of another certificate"
    return ""


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


def _disk(inventory: Inventory, needs: Needs, downloads: bool, prepared_mb: int, report: Report) -> None:
    """Report a disk of the cache that is too small for downloads, the container image and prepared OS images."""
    wants = {
        f"downloads and the container image need {needs.cache_free_mb} MiB (preflight_cache_free_mb)": downloads,
        f"prepared OS images need {prepared_mb} MiB (card_image_cache_free_mb)": prepared_mb > 0,
    }
    wanted = needs.cache_free_mb * downloads + prepared_mb
    names = ("cluster_cache_dir", "container_image_cache_dir")
    settings = [setting for name in names for _host, setting in inventory.settings(name)]
    for place, name, folder in sorted({(each.place, each.name, str(each.value)) for each in settings if each.value}):
        free = shutil.disk_usage(nearest_existing(Path(folder))).free // 2**20
        if free < wanted:
            why = ", and ".join(text for text, is_wanted in wants.items() if is_wanted)
            remedy = "free some space, or write a directory on a larger disk"
            remedy += "; card_image_parts: [] does without prepared OS images" if prepared_mb else ""
            report.add(place, name, folder, f"{free} MiB are free there, but {why}", remedy)


@dataclass(frozen=True)
class Download:
    """Something to be downloaded: one of the candidates must exist."""

    place: Place
    key: str
    value: str
    candidates: tuple[str, ...]


def _to_flash(boards: list[Host], inventory: Inventory) -> list[Host]:
    """Boards that have a card and are not running."""
    with_card = [
        host for host in boards if host.get("flash_card") and is_url(_setting(host, inventory, "flash_image_url"))
    ]
    with ThreadPoolExecutor(max_workers=16) as pool:
        up = list(pool.map(lambda host: is_open(str(host.get("ansible_host")), _port(host)), with_card))
    return [host for host, is_up in zip(with_card, up, strict=True) if not is_up]


def _missing_images(to_flash: list[Host], inventory: Inventory) -> list[Download]:
    """OS images of boards that will be flashed, unless the pinned image is in the cache already."""
    found: dict[str, Download] = {}
    for host in to_flash:
        url, pin = (_setting(host, inventory, name) for name in ("flash_image_url", "flash_image_sha256"))
        if not (pin and _is_cached(host, f"*/{pin}.img*")):
            found.setdefault(url, Download(_place(host, inventory, "flash_image_url"), "flash_image_url", url, (url,)))
    return list(found.values())


def _missing_releases(boards: list[Host], inventory: Inventory) -> list[Download]:
    """k3s releases that have no directory in the cache yet."""
    found: dict[tuple[str, str], Download] = {}
    for host in boards:
        base = _setting(host, inventory, "k3s_release_url")
        version = _setting(host, inventory, "k3s_version")
        # A spare board has no version until it joins.
        if "cluster" not in host.groups or not is_url(base) or _is_cached(host, f"k3s/{version}/*k3s*"):
            continue
        # The boards' architecture is unknown until they run; a release has both, a mirror perhaps one.
        urls = tuple(f"{base}/{quote(version)}/sha256sum-{arch}.txt" for arch in ("arm64", "amd64"))
        place = _place(host, inventory, "k3s_release_url")
        found.setdefault((base, version), Download(place, "k3s_release_url", f"{base}/{version}", urls))
    return list(found.values())


def _setting(host: Host, inventory: Inventory, name: str) -> Any:
    return host.get(name, inventory.defaults.get(name))


def _place(host: Host, inventory: Inventory, name: str) -> Place:
    return host.settings[name].place if name in host.settings else inventory.source


def _is_cached(host: Host, pattern: str) -> bool:
    folder = Path(str(host.get("cluster_cache_dir", "")))
    return folder.is_absolute() and folder.is_dir() and any(folder.glob(pattern))


def _is_prepared(host: Host) -> bool:
    """Whether there are prepared OS images, so that another one replaces the oldest of them."""
    folder = host.get("card_image_cache_dir")
    return any(Path(str(folder)).glob("prepared-*.img")) if folder else _is_cached(host, "images/prepared-*.img")


def _image_is_cached(host: Host) -> bool:
    """Whether an archive of the large image, as it would be built now, is in the cache, for some architecture."""
    context = Path(str(host.get("container_image_context", _CONTEXT)))
    given = {name: str(host.get(f"container_image_base{suffix}", default)) for name, suffix, default in _BASE}
    folder = host.get("container_image_cache_dir") or f"{host.get('cluster_cache_dir', '')}/images-oci"
    try:
        return any(Path(str(folder)).glob(f"{tag(Inputs(context, **given))}-*.tar"))
    except (ImageError, OSError):
        return False  # reported elsewhere


def _port(host: Host) -> int:
    port = host.get("ansible_port", 22)
    return port if isinstance(port, int) else 22


def is_open(address: str, port: int, timeout: float = 1.0) -> bool:
    """Whether a TCP connection can be opened within `timeout` seconds; nothing is sent."""
    try:
        with socket.create_connection((address, port), timeout=timeout):
            return True
    except OSError:
        return False


def first_problem(candidates: tuple[str, ...], timeout: float) -> str | None:
    """Why none of these URLs can be downloaded (the last one's reason), or None if one can."""
    problem = None
    for url in candidates:
        problem = url_problem(url, timeout)
        if problem is None:
            return None
    return problem


def url_problem(url: str, timeout: float) -> str | None:
    """Why a URL can't be downloaded, or None. Requests the headers only; `timeout` in seconds."""
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "edge-ai-cluster"})
    try:
        with urllib.request.urlopen(request, timeout=timeout):
            return None
    except urllib.error.HTTPError as error:
        # A server without HEAD is reachable all the same.
        return None if error.code in (405, 501) else f"{url} returns {error.code} {error.reason}"
    except (OSError, ValueError) as error:
        reason: Any = getattr(error, "reason", error)
        return f"{url} is unreachable ({getattr(reason, 'strerror', None) or reason})"
