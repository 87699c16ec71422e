"""Requirements of the lab on its machine, checked before anything is changed."""

import os
import platform
import re
import shutil
from pathlib import Path

from lab import apt, owner
from lab.command import run
from lab.errors import LabError
from lab.settings import PACKAGE, Settings, cache_root

MEMORY_GIB = 12
DISK_GIB = 25
DISK_BUILT_GIB = 8
"""Enough when the builds are in the cache already."""


def packages() -> list[str]:
    """Debian packages that the lab runs."""
    return [line.strip() for line in (PACKAGE / "apt-packages.txt").read_text().splitlines() if line.strip()]


def check(settings: Settings, built: bool, packages_too: bool = True) -> None:
    """Check this machine.

    Args:
        settings: the instance that is to be brought up.
        built: whether everything is in the cache already.
        packages_too: whether the Debian packages have to be installed by now.

    Raises:
        LabError: with all problems at once.
    """
    problems = [
        *_system(),
        *user_problems(Path("/proc/self/uid_map").read_text(), settings.uid),
        *_resources(settings, built),
        *(_missing_packages() if packages_too else []),
    ]
    if problems:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise LabError(f"this machine cannot carry the lab:{listed}")


def system_problems(os_release: str, machine: str, uid: int) -> list[str]:
    """What is wrong with the system itself."""
    fields = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', os_release, re.MULTILINE))
    problems = []
    if uid != 0:
        problems.append("root is needed, for network namespaces and file systems: run it with sudo")
    if fields.get("ID") != "debian" or fields.get("VERSION_ID") not in ("12", "13"):
        found = fields.get("PRETTY_NAME", "unknown")
        problems.append(f"the system is {found}; the lab needs Debian 12 or 13")
    if machine != "x86_64":
        problems.append(f"the processor is {machine}; User-mode Linux needs x86_64")
    return problems


def user_problems(uid_map: str, uid: int) -> list[str]:
    """What is wrong with the user that boards run as.

    Args:
        uid_map: text of /proc/self/uid_map: first number inside, first outside, how many.
        uid: number of the user.
    """
    ranges = [(int(first), int(count)) for first, _, count in (line.split() for line in uid_map.splitlines())]
    if any(first <= uid < first + count for first, count in ranges):
        return []
    return [
        f"boards run as user {uid}, which does not exist in this container: run the lab outside, or give it all users"
    ]


def _system() -> list[str]:
    problems = system_problems(Path("/etc/os-release").read_text(), platform.machine(), os.geteuid())
    for archive in (apt.mirror, apt.security_mirror):
        try:
            archive()
        except LabError as error:
            problems.append(str(error))
    return problems


def _resources(settings: Settings, built: bool) -> list[str]:
    problems = []
    boards_run = any(name != "gateway" for name in owner.alive(settings))
    available = int(re.findall(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())[0]) / 2**20
    if not boards_run and available < MEMORY_GIB:
        problems.append(f"{available:.1f} GiB of memory are available; the lab needs {MEMORY_GIB} GiB")
    wanted = DISK_BUILT_GIB if built or boards_run else DISK_GIB
    for path in {_existing(cache_root()), _existing(settings.state)}:
        free = shutil.disk_usage(path).free / 2**30
        if free < wanted:
            problems.append(f"{path} has {free:.1f} GiB free; the lab needs {wanted} GiB")
    return problems


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _missing_packages() -> list[str]:
    wanted = packages()
    try:
        listed = run("dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n")
    except LabError as error:
        return [str(error)]
    installed = {line.split()[0] for line in listed.splitlines() if line.endswith(" installed")}
    missing = [package for package in wanted if package not in installed]
    return [f"Debian packages are missing: apt-get install --yes {' '.join(missing)}"] if missing else []
