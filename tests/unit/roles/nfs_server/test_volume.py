"""What the role makes of an export, given what it finds: a file system in a file, on a device, or a directory."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.edge_ai.cluster.plugins.modules import nfs_server_info as info

from tests.support import ansible_playbook
from tests.support.paths import ROOT

ROLE = ROOT / "roles" / "nfs_server"
GIB = 2**30
DISK = "/dev/disk/by-id/usb-Disk-0:0"
NEW = {
    "directory": {"exists": False, "symlink": False, "directory": False, "empty": True, "mountpoint": False},
    "volume": {
        "unit": "srv-books.mount", "unit_text": "", "active": "inactive", "enabled": "", "moving": False,
        "file": {"exists": False, "bytes": 0, "formatted": False, "projects": False},
        "device": {"exists": False, "holds": "", "label": "", "used": False, "projects": False},
        "quotas": True,
        "free": 13 * GIB + 5,
    },
}  # fmt: skip
DATA = {"directory": {"exists": True, "directory": True, "empty": False, "uid": 10001, "gid": 10001}}
MOUNTED = {"directory": {**DATA["directory"], "mountpoint": True}}
FILE = {"exists": True, "bytes": 6 * GIB, "formatted": True, "projects": True}
OURS = {"unit_text": "unit", "active": "active", "enabled": "enabled", "file": FILE}


def found(*changes: dict[str, Any]) -> dict[str, Any]:
    """State of a server: a new one with changes."""
    state = {
        "foreign": [], "address": "own", "account": {"uid": -1, "gid": -1},
        "directory": dict(NEW["directory"]), "volume": dict(NEW["volume"]),
    }  # fmt: skip
    for change in changes:
        for part, values in change.items():
            state[part] = {**state[part], **values}
    return state


def device(**values: Any) -> dict[str, Any]:
    return {
        "volume": {"device": {"exists": True, "holds": "", "label": "", "used": False, "projects": False, **values}}
    }


USB = {"nfs_server_device": DISK}
# Name: state, variables, what the export is, bytes of the file (0: does not matter), part of the one problem.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str, int, str]] = {
    "new": (found(), {}, "file", 6 * GIB, ""),
    "new, of a given size": (found(), {"nfs_server_size": "2G"}, "file", 2 * GIB, ""),
    "new, without a limit": (found(), {"nfs_server_size": "none"}, "directory", 0, ""),
    "size that is none": (found(), {"nfs_server_size": "lots"}, "file", 0, "write auto, none, or a size such as 20G"),
    "larger than what is free": (found(), {"nfs_server_size": "14G"}, "file", 0, "14.00 GB of the 13.00 GB"),
    "hardly any room": (found({"volume": {"free": 2**30}}), {}, "file", 0, "would take half of the 1.00 GB"),
    "data in a plain directory": (found(DATA), {}, "directory", 0, ""),
    "data, and a size": (found(DATA), {"nfs_server_size": "2G"}, "directory", 0, ""),
    "data, and a device": (found(DATA, device()), USB, "directory", 0, ""),
    "data to convert": (found(DATA), {"nfs_server_convert": True}, "file", 6 * GIB, ""),
    "conversion that was interrupted": (found({"volume": {"moving": True}}), {}, "file", 6 * GIB, ""),
    "data to move to a device": (found(DATA, device()), {**USB, "nfs_server_convert": True}, "device", 0, ""),
    "not mounted": (found({"volume": {**OURS, "active": "inactive"}}), {}, "file", 0, ""),
    "mounted": (found(MOUNTED, {"volume": OURS}), {}, "file", 0, ""),
    "mounted, and now no limit": (found(MOUNTED, {"volume": OURS}), {"nfs_server_size": "none"}, "file", 0, ""),
    "enlarged": (found(MOUNTED, {"volume": OURS}), {"nfs_server_size": "10G"}, "file", 10 * GIB, ""),
    "enlarged too much": (found(MOUNTED, {"volume": OURS}), {"nfs_server_size": "30G"}, "file", 0, "take 24.00 GB"),
    "disk that others mount": (found(MOUNTED), {}, "directory", 0, ""),
    "empty device": (found(device()), USB, "device", 0, ""),
    "device with ext4": (found(device(holds="ext4", label="mine")), USB, "device", 0, ""),
    "device with something else": (found(device(holds="vfat")), USB, "device", 0, "holds vfat. Nothing on it is chan"),
    "device with partitions": (found(device(holds="parted")), USB, "device", 0, "holds parted"),
    "device to format": (found(device(holds="vfat")), {**USB, "nfs_server_device_format": DISK}, "device", 0, ""),
    "another device to format": (
        found(device(holds="vfat")), {**USB, "nfs_server_device_format": "/dev/disk/by-id/x"}, "device", 0, "holds vfat"
    ),
    "device that is missing": (found(), USB, "device", 0, f"there is no {DISK}"),
    "device in use": (found(device(used=True, holds="ext4")), USB, "device", 0, "is mounted elsewhere"),
    "name that changes": (found(device()), {"nfs_server_device": "/dev/sda1"}, "device", 0, "in /dev/disk/by-id"),
}  # fmt: skip


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the role's variables are in each case."""
    folder = tmp_path_factory.mktemp("volume")
    defaults = {
        "nfs_server_size": "auto",
        "nfs_server_device": "",
        "nfs_server_device_format": "",
        "nfs_server_convert": False,
    }
    cases = [{"name": name, "state": case[0], **defaults, **case[1]} for name, case in CASES.items()]
    answer = (
        "{{ {item.name: {'volume': _nfs_server_volume, 'formats': _nfs_server_formats, 'quotas': _nfs_server_quotas,"
        " 'mount': _nfs_server_mount_text, 'remounts': _nfs_server_remounts,"
        " 'bytes': 0 if item.nfs_server_size == 'lots' else _nfs_server_bytes | int,"
        " 'problems': _nfs_server_problems}} }}"
    )
    play = {
        "hosts": "localhost", "gather_facts": False, "connection": "local",
        "vars_files": [str(ROLE / "defaults/main.yml"), str(ROLE / "vars/main.yml")],
        "vars": {"role_path": str(ROLE), "nfs_server_clients": ["10.0.0.12"], "cases": cases},
        "tasks": [
            {
                "ansible.builtin.set_fact": {"answer": answer}, "register": "answered", "loop": "{{ cases }}",
                "vars": {
                    "__nfs_server_info": {"server": "{{ item.state }}"},
                    **{key: f"{{{{ item.{key} }}}}" for key in defaults},
                },
            },
            {
                "ansible.builtin.copy": {
                    "dest": f"{folder}/answers.json", "mode": "0600",
                    "content": "{{ answered.results | map(attribute='ansible_facts.answer') | combine | to_json }}",
                },
            },
        ],
    }  # fmt: skip
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    done = ansible_playbook.run([folder / "play.yml"], cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    answers: dict[str, dict[str, Any]] = json.loads((folder / "answers.json").read_text())
    return answers


@pytest.mark.parametrize("name", CASES)
def test_what_the_export_is(answers: dict[str, dict[str, Any]], name: str) -> None:
    _, _, volume, size, problem = CASES[name]
    answer = answers[name]
    if problem:
        (text,) = answer["problems"]
        assert problem in text
    else:
        assert answer["problems"] == []
    assert answer["volume"] == volume
    assert size in (0, answer["bytes"])


NO_QUOTAS = {"volume": {"quotas": False}}
LABELLED = {"holds": "ext4", "label": "edge-ai-books"}
CASES |= {
    "new, and a kernel without quotas": (found(NO_QUOTAS), {}, "file", 6 * GIB, ""),
    "mounted without quotas": (
        found(MOUNTED, {"volume": {**OURS, "unit_text": "Options=loop,nofail"}}),
        {},
        "file",
        0,
        "",
    ),
    "device of ours": (found(device(**LABELLED)), USB, "device", 0, ""),
}


@pytest.mark.parametrize(
    ("name", "quotas"),
    [
        ("new", True),
        ("new, and a kernel without quotas", False),
        ("new, without a limit", False),
        ("mounted", True),
        ("disk that others mount", False),
        ("empty device", True),
        ("device of ours", True),
        ("device with ext4", False),
        ("device to format", True),
    ],
)
def test_homes_can_be_limited_in_file_systems_of_ours(
    answers: dict[str, dict[str, Any]], name: str, quotas: bool
) -> None:
    assert answers[name]["quotas"] is quotas
    assert (",prjquota" in answers[name]["mount"]) is quotas


def test_only_what_holds_nothing_is_formatted(answers: dict[str, dict[str, Any]]) -> None:
    formatted = {name for name, answer in answers.items() if answer["formats"] and not answer["problems"]}
    assert not formatted & {
        "mounted",
        "enlarged",
        "device with ext4",
        "device of ours",
        "disk that others mount",
        "not mounted",
    }
    assert formatted >= {"new", "empty device", "device to format", "data to convert"}


def test_what_is_mounted_with_other_options_is_mounted_anew(answers: dict[str, dict[str, Any]]) -> None:
    assert answers["mounted without quotas"]["remounts"] is True
    assert not [name for name in ("new", "not mounted", "disk that others mount") if answers[name]["remounts"]]


def test_a_file_system_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "books.img"
    assert info.file_state(file) == {"exists": False, "bytes": 0, "formatted": False, "projects": False}
    file.touch()
    os.truncate(file, 8 << 20)
    assert info.file_state(file) == {"exists": True, "bytes": 8 << 20, "formatted": False, "projects": False}
    environment = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}
    subprocess.run(["mkfs.ext4", "-q", "-F", str(file)], check=True, env=environment)
    assert info.ext4_state(file) == {"formatted": True, "projects": False}
    subprocess.run(["tune2fs", "-O", "quota,project", "-Q", "prjquota", str(file)], check=True, env=environment)
    assert info.ext4_state(file) == {"formatted": True, "projects": True}
