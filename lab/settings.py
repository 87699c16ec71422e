"""What lab.toml and the environment say, checked, and where the lab keeps its files."""

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import LabError

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent
DEFAULT_NAME = "lab"
CPUS = os.cpu_count() or 1

ARCHITECTURES = ("amd64", "arm64")
"""What a board may be; the first unless lab.toml says so."""

MODELS = {0x11: "Raspberry Pi 4 Model B", 0x17: "Raspberry Pi 5"}
"""Board type (bits 4-11 of a revision code) to the name that /proc/cpuinfo shows."""


@dataclass(frozen=True)
class Board:
    """One virtual board, as lab.toml declares it."""

    name: str
    mac: str
    serial: str
    """16 hex digits."""
    revision: str
    """New-style revision code, hex."""
    memory: str
    """Memory of the guest, as `mem=` takes it: a number and M or G."""
    core: int
    """Processor of this machine that the board is pinned to, if it is one of amd64."""
    arch: str = "amd64"
    """amd64: User-mode Linux; arm64: a machine of QEMU."""

    @property
    def model(self) -> str:
        """The text of the Model line of /proc/cpuinfo."""
        code = int(self.revision, 16)
        return f"{MODELS[code >> 4 & 0xFF]} Rev 1.{code & 0xF}"

    @property
    def memory_mib(self) -> int:
        """Memory in MiB."""
        return int(self.memory[:-1]) * (1024 if self.memory[-1] == "G" else 1)


@dataclass(frozen=True)
class Settings:
    """One instance of the lab."""

    name: str
    """Instance name; a second one beside the default `lab` needs EDGE_LAB_NAME and EDGE_LAB_SUBNET."""
    subnet: str
    """First three numbers of the instance's /24."""
    mirror_port: int
    os_suite: str
    kernel_suite: str
    k3s_version: str
    k3s_next: str
    """Version of a second k3s release, to upgrade to."""
    boards: tuple[Board, ...]
    declared_in: str = "lab/lab.toml"
    """The file that declares them; EDGE_LAB_BOARDS names another one."""

    @property
    def gateway(self) -> str:
        """Address of the gateway: routes, DNS, time and the mirror."""
        return f"{self.subnet}.1"

    @property
    def mirror_url(self) -> str:
        """Base URL of the mirror."""
        return f"http://{self.gateway}:{self.mirror_port}"

    @property
    def namespace(self) -> str:
        """Network namespace of the instance."""
        return "edge-lab" if self.name == DEFAULT_NAME else f"edge-lab-{self.name}"

    @property
    def uid(self) -> int:
        """User that the boards' kernels run as: the instance's alone, as its network is, and above those of systems.

        (systemd gives away up to 1879048191, and signed 32-bit numbers end at 2147483647.)
        """
        first, second, third = (int(part) for part in self.subnet.split("."))
        return 1_900_000_000 + (first << 16 | second << 8 | third)

    @property
    def state(self) -> Path:
        """What outlives the machine's reboot: cards and logs."""
        return ROOT / ".lab" if self.name == DEFAULT_NAME else ROOT / ".lab" / "instances" / self.name

    @property
    def cards(self) -> Path:
        """Folder of the card images."""
        return self.state / "cards"

    @property
    def logs(self) -> Path:
        """Folder of the consoles and the gateway's log."""
        return self.state / "log"

    @property
    def mirror_root(self) -> Path:
        """What the mirror serves (links into the cache)."""
        return self.state / "mirror"

    @property
    def snapshots(self) -> Path:
        """Folder of the instance's snapshots; `down --cards` leaves it alone."""
        return ROOT / ".lab" / "snapshots" / self.name

    @property
    def by_hand(self) -> Path:
        """Login keys and passwords of boards whose cards were written by `card --by-hand`."""
        return self.state / "by-hand"

    @property
    def run(self) -> Path:
        """What must not outlive the machine's reboot: pids, the owner's mark, locks."""
        return Path("/run/edge-lab") / self.name

    @property
    def clock(self) -> Path:
        """By how many seconds the boards' time is moved; absent while it is this machine's."""
        return self.run / "clock"

    def card(self, board: Board) -> Path:
        """Card image of a board."""
        return self.cards / f"{board.name}.img"

    def console(self, board: Board) -> Path:
        """Console log of a board."""
        return self.logs / f"{board.name}.console"

    def board(self, name: str) -> Board:
        """The declared board of that name.

        Raises:
            LabError: no such board.
        """
        for board in self.boards:
            if board.name == name:
                return board
        known = ", ".join(board.name for board in self.boards)
        raise LabError(f"{name}: no such board in {self.declared_in} (it declares {known})")


def cache_root() -> Path:
    """Where builds are kept, for every checkout of this user."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "edge-ai-cluster" / "lab"


_BOARD_KEYS = {
    "name": (r"[a-z][a-z0-9-]{0,11}", "a host name of at most 12 letters, digits and hyphens, such as pi-04"),
    "mac": (r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", "a MAC address in lower case, such as dc:a6:32:1a:b0:04"),
    "serial": (r"[0-9a-f]{16}", "16 hex digits in lower case, such as 10000000a1b20004"),
    "revision": (r"[0-9a-f]{6}", "a revision code of 6 hex digits, such as c03115"),
    "memory": (r"[1-9][0-9]*[MG]", "a whole number and M or G, such as 3G"),
}


def parse(text: str, environment: dict[str, str], cpus: int = CPUS) -> Settings:
    """Settings from the text of lab.toml and the environment (EDGE_LAB_NAME, EDGE_LAB_SUBNET, EDGE_LAB_BOARDS).

    Raises:
        LabError: with every mistake found, one a line, each with the place and what to write instead.
    """
    document = _loaded(text, "lab/lab.toml")
    declared_in = environment.get("EDGE_LAB_BOARDS") or "lab/lab.toml"
    files = " and ".join(dict.fromkeys(("lab/lab.toml", declared_in)))
    if declared_in != "lab/lab.toml":
        try:
            document["boards"] = _loaded((ROOT / declared_in).read_text(), declared_in).get("boards")
        except OSError as error:
            raise LabError(
                f"EDGE_LAB_BOARDS: {declared_in}: {error.strerror}; write a path such as lab/twenty.toml"
            ) from None

    mistakes: list[str] = []

    def value(table: str, key: str, kind: type, pattern: str, wanted: str) -> str:
        found = document.get(table, {}).get(key)
        if not isinstance(found, kind) or not re.fullmatch(pattern, str(found)):
            mistakes.append(f"[{table}] {key}: {found!r} is not {wanted}")
        return str(found)

    subnet_pattern = r"(?:[0-9]{1,3}\.){2}[0-9]{1,3}"
    subnet = value("network", "subnet", str, subnet_pattern, "the start of a /24, such as 10.77.0")
    port = value("network", "mirror_port", int, r"[1-9][0-9]{2,4}", "a port number, such as 8077")
    os_suite = value("os", "suite", str, r"[a-z]+", "a Debian release, such as trixie")
    kernel_suite = value("kernel", "suite", str, r"[a-z]+", "a Debian release, such as forky")
    version_pattern = r"v[0-9]+\.[0-9]+\.[0-9]+\+\w+"
    version = value("k3s", "version", str, version_pattern, "a version such as v1.36.3+lab1")
    later = value("k3s", "next", str, version_pattern, "a version such as v1.36.3+lab2")
    if later == version:
        mistakes.append(f"[k3s] next: {later!r} is [k3s] version already; give it another one")

    name = environment.get("EDGE_LAB_NAME") or DEFAULT_NAME
    if not re.fullmatch(r"[a-z][a-z0-9]{0,7}", name):
        mistakes.append(f"EDGE_LAB_NAME: {name!r} is not 1 to 8 lower-case letters and digits")
    subnet = environment.get("EDGE_LAB_SUBNET") or subnet
    if not re.fullmatch(subnet_pattern, subnet) or any(int(part) > 255 for part in subnet.split(".")):
        mistakes.append(f"subnet {subnet!r}: is not the start of a /24, such as 10.77.0")

    boards = _boards(document, cpus, mistakes)
    if mistakes:
        raise LabError(f"{files} cannot be used:\n" + "\n".join(f"  {mistake}" for mistake in mistakes))
    return Settings(name, subnet, int(port), os_suite, kernel_suite, version, later, tuple(boards), declared_in)


def _loaded(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LabError(f"{name}: {error}") from error


def _boards(document: dict[str, object], cpus: int, mistakes: list[str]) -> list[Board]:
    """The declared boards; what is wrong with them is added to `mistakes`."""
    boards: list[Board] = []
    tables = document.get("boards")
    if not isinstance(tables, list) or not tables:
        mistakes.append("[[boards]]: there is none; declare at least one board")
        return boards
    for index, table in enumerate(tables):
        place = f"[[boards]] {table.get('name', f'number {index + 1}')}"
        wrong = len(mistakes)
        unknown = sorted(set(table) - {*_BOARD_KEYS, "core", "arch"})
        mistakes += [f"{place}: unknown key {key!r}" for key in unknown]
        for key, (pattern, wanted) in _BOARD_KEYS.items():
            if not isinstance(table.get(key), str) or not re.fullmatch(pattern, table[key]):
                mistakes.append(f"{place}: {key} {table.get(key)!r} is not {wanted}")
        core = table.get("core", index % cpus)
        if not isinstance(core, int) or not 0 <= core < cpus:
            mistakes.append(f"{place}: core {core!r} is not a processor of this machine (0 to {cpus - 1})")
        arch = table.get("arch", ARCHITECTURES[0])
        if arch not in ARCHITECTURES:
            mistakes.append(f"{place}: arch {arch!r} is not {' or '.join(ARCHITECTURES)}")
        if len(mistakes) > wrong:
            continue
        if int(table["revision"], 16) >> 4 & 0xFF not in MODELS:
            mistakes.append(f"{place}: revision {table['revision']!r} is not a Raspberry Pi 4 B (c03115) or 5")
        boards.append(Board(core=core, arch=arch, **{key: table[key] for key in _BOARD_KEYS}))
    for key in ("name", "mac", "serial"):
        seen: dict[str, str] = {}
        for board in boards:
            found = getattr(board, key)
            if found in seen:
                mistakes.append(f"[[boards]] {board.name}: {key} {found!r} is already that of {seen[found]}")
            seen[found] = board.name
    return boards


def load() -> Settings:
    """The settings of this checkout and environment."""
    return parse((PACKAGE / "lab.toml").read_text(), dict(os.environ))
