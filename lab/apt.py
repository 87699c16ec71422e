"""Debian packages of another release than this machine's, fetched without touching this machine's apt.

The mirror is the one that this machine itself uses; its name is found in /etc/apt, never written here.
"""

import os
import re
from pathlib import Path

from lab.command import run
from lab.errors import LabError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def host_codename(os_release: str) -> str:
    """VERSION_CODENAME of an os-release text, or ''."""
    found = re.search(r'^VERSION_CODENAME="?([a-z]+)"?$', os_release, re.MULTILINE)
    return found[1] if found else ""


def find_mirror(sources: dict[str, str], codename: str) -> str:
    """URI of the Debian mirror among the texts of apt's source files.

    Args:
        sources: file name to text; `.sources` files are read as deb822, all others as one-line lists.
        codename: release of this machine, whose entry is preferred to others.

    Raises:
        LabError: no entry of a Debian archive is enabled.
    """
    entries = _entries(sources)
    debian = [
        (uri, suites)
        for uri, suites in entries
        if re.search(r"/debian/?$", uri) or (codename in suites and "security" not in uri)
    ]
    debian.sort(key=lambda entry: codename not in entry[1])
    if not debian:
        raise LabError(
            "no Debian mirror found in /etc/apt/sources.list or /etc/apt/sources.list.d: "
            f"the lab builds its boards from the mirror that this machine uses for {codename or 'Debian'}"
        )
    return debian[0][0].rstrip("/")


def find_security_mirror(sources: dict[str, str]) -> str:
    """URI of Debian's security archive among the texts of apt's source files (see find_mirror).

    Raises:
        LabError: no entry of it is enabled.
    """
    for uri, suites in _entries(sources):
        if re.search(r"/debian-security/?$", uri) or any(suite.endswith("-security") for suite in suites):
            return uri.rstrip("/")
    raise LabError(
        "no Debian security archive found in /etc/apt/sources.list or /etc/apt/sources.list.d: the lab's boards are "
        "built with security updates, from the archive that this machine uses for its own; add one, such as "
        "'deb http://<mirror>/debian-security <release>-security main'"
    )


def _entries(sources: dict[str, str]) -> list[tuple[str, list[str]]]:
    """URI and suites of every enabled entry for binary packages."""
    entries: list[tuple[str, list[str]]] = []
    for name, text in sorted(sources.items()):
        entries += _deb822(text) if name.endswith(".sources") else _one_line(text)
    return entries


def _deb822(text: str) -> list[tuple[str, list[str]]]:
    entries = []
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for block in re.split(r"\n\s*\n", "\n".join(lines)):
        fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*(?:\n[ \t]+.*)*)", block, re.MULTILINE))
        fields = {key.lower(): value.split() for key, value in fields.items()}
        enabled = fields.get("enabled", ["yes"])[0].lower() not in ("no", "false", "0")
        if enabled and "deb" in fields.get("types", []):
            entries += [(uri, fields.get("suites", [])) for uri in fields.get("uris", [])]
    return entries


def _one_line(text: str) -> list[tuple[str, list[str]]]:
    lines = re.findall(r"^\s*deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)", text, re.MULTILINE)
    return [(uri, [suite]) for uri, suite in lines]


def _host_sources() -> dict[str, str]:
    files = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    return {path.name: path.read_text() for path in files if path.suffix in (".list", ".sources") and path.is_file()}


def mirror() -> str:
    """URI of this machine's Debian mirror.

    Raises:
        LabError: there is none in its apt configuration.
    """
    return find_mirror(_host_sources(), host_codename(Path("/etc/os-release").read_text()))


def security_mirror() -> str:
    """URI of the Debian security archive that this machine uses.

    Raises:
        LabError: there is none in its apt configuration.
    """
    return find_security_mirror(_host_sources())


def source_line(suite: str) -> str:
    """A line of sources.list for a release, from this machine's mirror."""
    return f"deb [signed-by={KEYRING}] {mirror()} {suite} main"


def security_line(suite: str) -> str:
    """A line of sources.list for the security updates of a release, from where this machine has its own."""
    return f"deb [signed-by={KEYRING}] {security_mirror()} {suite}-security main"


def validity_options(dump: str) -> list[str]:
    """Settings about the age of an archive's lists in the output of `apt-config dump`, one an item, for mmdebstrap.

    Who uses a mirror that is no longer updated has switched the check of the date off; a root made from that mirror
    needs the same, to be made and later on. Debian's security suite is valid for a week only.
    """
    return re.findall(r'(?m)^(Acquire::Check-(?:Valid-Until|Date) "\w+");$', dump)


def mmdebstrap_sources(suite: str) -> list[str | Path]:
    """Options and source lines for mmdebstrap: a release with its security updates, from this machine's mirrors.

    Raises:
        LabError: a mirror is not in its apt configuration.
    """
    lines: list[str | Path] = [source_line(suite), security_line(suite)]
    return [*(f"--aptopt={option}" for option in validity_options(run("apt-config", "dump"))), *lines]


def fetch(packages: list[str], suite: str, folder: Path) -> None:
    """Download packages (not their dependencies) of a release and unpack them together into `folder`/root.

    Lists, cache and state of apt are private to `folder`; proxies and certificates of this machine's apt are
    used.

    Raises:
        LabError: the mirror does not answer or lacks a package.
    """
    private = folder / "apt"
    for part in ("lists/partial", "cache/archives/partial", "state", "preferences"):
        (private / part).mkdir(parents=True)
    (private / "sources.list").write_text(source_line(suite) + "\n")
    (private / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{private}/sources.list";\n'
        f'Dir::Etc::sourceparts "{private}/preferences";\n'
        'Dir::Etc::preferences "/dev/null";\n'
        f'Dir::Etc::preferencesparts "{private}/preferences";\n'
        f'Dir::State "{private}/state";\n'
        f'Dir::State::lists "{private}/lists";\n'
        'Dir::State::status "/dev/null";\n'
        f'Dir::Cache "{private}/cache";\n'
        'APT::Sandbox::User "root";\n'
        'Acquire::Languages "none";\n'
        'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";\n'
    )
    environment = {**os.environ, "APT_CONFIG": str(private / "apt.conf")}
    try:
        run("apt-get", "-q", "update", "--error-on=any", env=environment)
        run("apt-get", "-q", "download", *packages, env=environment, cwd=private)
    except LabError as error:
        raise LabError(f"Debian {suite} at {mirror()} does not give {' and '.join(packages)}:\n{error}") from error
    for package in sorted(private.glob("*.deb")):
        run("dpkg-deb", "--extract", package, folder / "root")
