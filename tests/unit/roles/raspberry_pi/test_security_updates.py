"""How apt on a board reads the role's file beside those of the package unattended-upgrades."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible.plugins.filter.core import to_bool
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tests.support.paths import ROOT

TEMPLATES = ROOT / "roles" / "raspberry_pi" / "templates"

#: The package's own files on Debian 13, in excerpts: more than security updates.
PACKAGE = {
    "20auto-upgrades": 'APT::Periodic::Update-Package-Lists "1";\nAPT::Periodic::Unattended-Upgrade "1";\n',
    "50unattended-upgrades": """\
Unattended-Upgrade::Origins-Pattern {
        "origin=Debian,codename=${distro_codename},label=Debian";
        "origin=Debian,codename=${distro_codename}-security,label=Debian-Security";
};
Unattended-Upgrade::Package-Blacklist {
};
Unattended-Upgrade::Automatic-Reboot "true";
""",
}


def configuration(folder: Path, updates: bool | str) -> dict[str, list[str]]:
    """Values by key, as apt reads them with the role's file in place."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, autoescape=False)
    environment.filters["bool"] = to_bool
    text = environment.get_template("security-updates.conf.j2").render(raspberry_pi_security_updates=updates)
    parts = folder / "apt.conf.d"
    parts.mkdir()
    for name, content in {**PACKAGE, "90-edge-ai-cluster.conf": text}.items():
        (parts / name).write_text(content)
    main = folder / "apt.conf"
    main.write_text(f'Dir::Etc::parts "{parts}";\nDir::Etc::main "/dev/null";\n')
    dump = subprocess.run(
        ["apt-config", "dump"],
        env={"PATH": "/usr/bin:/bin", "APT_CONFIG": str(main)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not dump.stderr
    found: dict[str, list[str]] = {}
    for line in dump.stdout.splitlines():
        key, _, value = line.partition(" ")
        if value != '"";':
            found.setdefault(key.rstrip(":"), []).append(value.strip('";'))
    return found


@pytest.mark.parametrize("updates", [True, "true"])
def test_security_archive_alone_and_no_reboot(tmp_path: Path, updates: bool | str) -> None:
    found = configuration(tmp_path, updates)
    assert found["Unattended-Upgrade::Origins-Pattern"] == [
        "origin=Debian,codename=${distro_codename}-security,label=Debian-Security"
    ]
    assert found["Unattended-Upgrade::Automatic-Reboot"] == ["false"]
    assert found["APT::Periodic::Unattended-Upgrade"] == ["1"]
    assert found["APT::Periodic::Update-Package-Lists"] == ["1"]


@pytest.mark.parametrize("updates", [False, "false"])
def test_switched_off_the_package_does_nothing_where_it_is_installed(tmp_path: Path, updates: bool | str) -> None:
    assert configuration(tmp_path, updates)["APT::Periodic::Unattended-Upgrade"] == ["0"]
