"""Identity, kernel command line, and the seed as the role's own templates render it."""

import base64
import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.edge_ai.cluster.plugins.module_utils.flash.hostkeys import key_of, known_hosts_text
from ansible_collections.edge_ai.cluster.plugins.module_utils.flash.seed import (
    SeedError,
    boot_partition,
    card_meta_data,
    differences,
    edit_cmdline,
    instance_id,
    meta_data,
    parse_meta_data,
    partitions,
    read_boot_file,
    without_login_key,
)
from flash_helpers import BOOT_BYTES, BOOT_OFFSET, CMDLINE, ROLE, build_image, run_module

from tests.support import ansible_playbook


def test_identity_depends_on_every_input_and_on_nothing_else() -> None:
    inputs: list[Any] = ["user", "network", ["a=1"], "digest"]
    first = instance_id("pi-01", *inputs)
    assert re.fullmatch(r"pi-01-[0-9a-f]{12}", first)
    assert first == instance_id("pi-01", *inputs)
    for index, other in enumerate(["user2", "network2", ["a=2"], "digest2"]):
        assert first != instance_id("pi-01", *[*inputs[:index], other, *inputs[index + 1 :]])


def test_meta_data_has_the_key_that_cloud_init_reads_and_shows_what_changed() -> None:
    ours = meta_data("pi-01-0123456789ab", {"image": "a", "user-data": "b"})
    theirs = meta_data("pi-01-ba9876543210", {"image": "a", "user-data": "c"})
    assert yaml.safe_load(ours)["instance-id"] == "pi-01-0123456789ab"
    assert differences(parse_meta_data(ours), parse_meta_data(theirs)) == ["user-data"]
    # The stock file's key has an underscore; that is not an identity.
    assert "instance-id" not in parse_meta_data("instance_id: rpios-image\n")


def test_no_line_of_a_card_takes_long() -> None:
    text = "a: x" + " " * 1_000_000 + "y\n" + "b" * 1_000_000 + "\ninstance-id:  pi-01-0123456789ab  \n"
    begun = time.process_time()
    assert parse_meta_data(text)["instance-id"] == "pi-01-0123456789ab"
    assert time.process_time() - begun < 2


def test_of_a_long_file_on_a_card_little_is_read(tmp_path: Path) -> None:
    card = build_image(tmp_path / "card.img", filler_bytes=4 << 20)
    boot = boot_partition(card)
    assert boot
    assert read_boot_file(card, boot, "filler") is None
    assert read_boot_file(card, boot, "config.txt") == "[all]\n"


def test_tokens_are_appended_to_the_one_line() -> None:
    text = edit_cmdline(CMDLINE, ["cgroup_enable=memory"])
    assert text == CMDLINE.strip() + " cgroup_enable=memory\n"
    assert edit_cmdline(text, ["cgroup_enable=memory"]) == text
    assert "resize" in text.split()


def test_broken_line_is_joined() -> None:
    assert (
        edit_cmdline("console=tty1\nroot=PARTUUID=1-02 rootwait\n\n", [])
        == "console=tty1 root=PARTUUID=1-02 rootwait\n"
    )


def test_bookworm_image_is_rejected() -> None:
    with pytest.raises(SeedError, match="bookworm or older"):
        edit_cmdline("root=PARTUUID=1-02 quiet init=/usr/lib/raspberrypi-sys-mods/firstboot\n", [])


def test_file_without_root_is_rejected() -> None:
    with pytest.raises(SeedError, match="no root="):
        edit_cmdline("quiet\n", [])


def test_partition_table_is_read(image: Path) -> None:
    with image.open("rb") as file:
        first, second = partitions(file.read(512))
    assert (first.offset, first.size, first.type) == (BOOT_OFFSET, BOOT_BYTES, 0x0C)
    assert second.type == 0x83
    assert partitions(bytes(512)) == []


def test_unseeded_card_has_no_identity(image: Path, tmp_path: Path) -> None:
    assert card_meta_data(image) == {"instance_id": "rpios-image"}
    assert card_meta_data(tmp_path / "none") == {}
    blank = tmp_path / "blank"
    blank.write_bytes(bytes(4096))
    assert card_meta_data(blank) == {}


def test_boot_files_are_read(image: Path) -> None:
    boot = boot_partition(image)
    assert boot
    assert read_boot_file(image, boot, "cmdline.txt") == CMDLINE
    assert read_boot_file(image, boot, "user-data") is None


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The seed of a board, rendered by Ansible from the role's templates and defaults."""
    scratch = tmp_path_factory.mktemp("seed")
    key = scratch / "secrets" / "ssh_host_keys" / "pi-01" / "ssh_host_ed25519_key"
    key.parent.mkdir(parents=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "pi-01", "-f", str(key)], check=True)
    play = [
        {
            "hosts": "all",
            "gather_facts": False,
            "vars_files": [str(ROLE / "defaults/main.yml"), str(ROLE / "vars/main.yml")],
            "vars": {
                "role_path": str(ROLE),
                "cluster_secrets_dir": str(scratch / "secrets"),
                "cluster_cache_dir": str(scratch),
                "ansible_host": "192.168.7.11",
                "__flash_keys": {"public_keys": {"pi-01": "ssh-ed25519 AAAA me"}},
            },
            "tasks": [
                {
                    "name": "Seed",
                    "ansible.builtin.debug": {
                        "msg": "SEED {{ [_flash_user_data, _flash_network_config, _flash_host_key, "
                        "_flash_names | to_json, _flash_own_names] | to_json | b64encode }} DEES"
                    },
                }
            ],
        }
    ]
    (scratch / "play.yml").write_text(json.dumps(play))
    given = {"flash_gateway": "192.168.7.1", "ansible_port": 2222, "ansible_host": "192.168.7.11"}
    options = ["-i", "pi-01,", "-c", "local", "play.yml", "-e", json.dumps(given)]
    result = ansible_playbook.run(options, cwd=scratch)
    match = re.search(r"SEED (\S+)\s+DEES", result.stdout)
    assert match, result.stdout + result.stderr
    user_data, network, host_key, names, own = json.loads(base64.b64decode(match[1]))
    assert own == json.loads(names)["pi-01"]
    texts = {"user-data": user_data, "network-config": network, "host-key": host_key}
    return {**texts, "names": names, "key": key.read_text()}


def test_user_data_starts_with_its_header_and_is_yaml(rendered: dict[str, str]) -> None:
    assert rendered["user-data"].startswith("#cloud-config\n")
    seed = yaml.safe_load(rendered["user-data"])
    assert seed["hostname"] == "pi-01"
    assert "rpi" not in seed and "users" not in seed  # `rpi:` reboots before ssh is on; `users:` loses the groups
    user = seed["user"]
    assert user["name"] == "pi" and user["shell"] == "/bin/bash"
    assert user["lock_passwd"] is True and user["hashed_passwd"] == "!" and user["sudo"] == "ALL=(ALL) NOPASSWD:ALL"
    assert set(user["groups"]) >= {"sudo", "video", "gpio", "render", "netdev"}
    assert seed["ssh_pwauth"] is False


def test_private_host_key_is_in_a_file_of_its_own(rendered: dict[str, str]) -> None:
    assert "PRIVATE KEY" in rendered["host-key"] and rendered["host-key"] == rendered["key"]
    assert "PRIVATE KEY" not in rendered["user-data"]


@pytest.fixture
def first_boot(rendered: dict[str, str], tmp_path: Path) -> Callable[[], int]:
    """Runs what runcmd does with the host key, on a board whose folders are in `tmp_path`; its exit status."""
    (script,) = yaml.safe_load(rendered["user-data"])["runcmd"]
    script = script.replace("/boot/firmware", f"{tmp_path}/card").replace("/etc/ssh", f"{tmp_path}/ssh")
    install, _, rest = script.partition("usermod")
    delete = next(line for line in rest.splitlines() if "shred" in line)
    (tmp_path / "card").mkdir()
    (tmp_path / "ssh").mkdir()
    (tmp_path / "card/host-key").write_text(rendered["host-key"])
    (tmp_path / "ssh/ssh_host_rsa_key").write_text("the image's")
    return lambda: subprocess.run(["sh", "-c", f"{install}\n{delete}"], check=False).returncode


def test_host_key_is_moved_from_the_card(
    first_boot: Callable[[], int], rendered: dict[str, str], tmp_path: Path
) -> None:
    key = tmp_path / "ssh/ssh_host_ed25519_key"
    # The second time is that of a first boot that was cut short at its end.
    for _ in range(2):
        assert first_boot() == 0
        assert key.read_text() == rendered["key"] and key.stat().st_mode & 0o777 == 0o600
        assert sorted(path.name for path in key.parent.iterdir()) == [key.name, f"{key.name}.pub"]
        assert not list((tmp_path / "card").iterdir())


def test_host_key_that_was_overwritten_on_the_card_is_not_installed(
    first_boot: Callable[[], int], rendered: dict[str, str], tmp_path: Path
) -> None:
    card, key = tmp_path / "card/host-key", tmp_path / "ssh/ssh_host_ed25519_key"
    card.write_bytes(bytes(card.stat().st_size))
    assert first_boot() != 0, "there is no host key, and ssh would be enabled"
    key.write_text(rendered["key"])
    key.chmod(0o600)
    assert first_boot() == 0
    assert key.read_text() == rendered["key"] and not card.exists()


def test_first_boot_has_ended_when_all_of_it_is_on_the_disk(rendered: dict[str, str]) -> None:
    (script,) = yaml.safe_load(rendered["user-data"])["runcmd"]
    lines = script.splitlines()
    position = 0
    for step in "set -e", "install", "growfs", "sync", "shred", "enable", "first-boot-finished", "sync", "restart":
        position = next(i for i in range(position, len(lines)) if step in lines[i].partition("#")[0]) + 1


SEMAPHORES = ("config_seed_random", "config_ssh", "consume_data")


@pytest.mark.parametrize(
    ("files", "starts_over", "left"),
    [
        (("run/sem/apply_network_config.once",), False, {"consume_data"}),
        ((), True, None),
        (("run/sem/apply_network_config.once", "cloud/instance/sem/config_set_hostname"), True, None),
        (("cloud/first-boot-again",), False, {"consume_data"}),
        (("cloud/instance/first-boot-finished",), False, set(SEMAPHORES)),
    ],
    ids=["the first", "cut short, not a new instance", "cut short, modules are marked", "started over", "a later boot"],
)
def test_a_boot_starts_over_only_after_a_first_one_that_was_cut_short(
    rendered: dict[str, str], tmp_path: Path, files: tuple[str, ...], starts_over: bool, left: set[str] | None
) -> None:
    (script,) = yaml.safe_load(rendered["user-data"])["bootcmd"]
    for path, stand_in in ("/var/lib/cloud", "cloud"), ("/run/cloud-init", "run"), ("/etc", "etc"):
        script = script.replace(path, f"{tmp_path}/{stand_in}")
    semaphores, log = tmp_path / "cloud/instance/sem", tmp_path / "log"
    for file in (*files, *(f"cloud/instance/sem/{name}" for name in SEMAPHORES), "etc/passwd.lock", "log"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    for name in ("cloud-init", "systemctl", "sync"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {log}\n')
        program.chmod(0o755)
    # A reboot ends the script.
    (tmp_path / "bin/sleep").write_text("#!/bin/sh\nkill $PPID\n")
    (tmp_path / "bin/sleep").chmod(0o755)
    environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    subprocess.run(["sh", "-c", script], env=environment, check=not starts_over, capture_output=True)
    done = ["cloud-init clean", "sync ", "systemctl reboot --force"] if starts_over else []
    assert log.read_text().splitlines() == done
    assert (tmp_path / "cloud/first-boot-again").exists() == starts_over
    if left is not None:
        assert {path.name for path in semaphores.iterdir()} == left
        assert (tmp_path / "etc/passwd.lock").exists() == (len(left) > 1)


def test_network_config_is_static(rendered: dict[str, str]) -> None:
    wired = yaml.safe_load(rendered["network-config"])["network"]["ethernets"]["eth0"]
    assert wired["addresses"] == ["192.168.7.11/24"] and wired["dhcp4"] is False and wired["optional"] is False
    assert wired["routes"] == [{"to": "default", "via": "192.168.7.1"}]
    assert wired["nameservers"] == {"addresses": ["192.168.7.1"]}
    assert "gateway4" not in wired


def test_known_hosts_has_the_port_as_ssh_writes_it(rendered: dict[str, str]) -> None:
    assert json.loads(rendered["names"]) == {"pi-01": ["[192.168.7.11]:2222", "[pi-01]:2222"]}


def test_known_hosts_is_sorted_complete_and_keeps_other_machines() -> None:
    text = known_hosts_text(
        "zeus ssh-rsa B\n10.0.0.1,pi-01 ssh-ed25519 OLD\n",
        {"pi-02": "ssh-ed25519 K2 pi-02", "pi-01": "ssh-ed25519 K1 pi-01"},
        {"pi-01": ["10.0.0.1", "pi-01"], "pi-02": ["10.0.0.2", "pi-02"]},
    )
    assert text == "10.0.0.1,pi-01 ssh-ed25519 K1\n10.0.0.2,pi-02 ssh-ed25519 K2\nzeus ssh-rsa B\n"


def keys_of(tmp_path: Path, **boards: Path) -> dict[str, Any]:
    names = {name: [f"10.0.0.{number}", name] for number, name in enumerate(["one", "two"], 1)}
    secrets = tmp_path / "secrets"
    given = {name: str(key) for name, key in boards.items()}
    return run_module(
        "flash_keys", directory=str(secrets), ssh_keys=given, known_hosts=str(secrets / "known_hosts"), names=names
    )


def test_each_board_gets_the_key_that_ansible_uses(tmp_path: Path) -> None:
    own = tmp_path / "own"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(own)], check=True)
    made = tmp_path / "secrets" / "id_ed25519"
    done = keys_of(tmp_path, one=made, two=own)
    assert done["changed"]
    assert done["public_keys"]["two"] == own.with_suffix(".pub").read_text().strip()
    assert done["public_keys"]["one"].split()[:2] == made.with_suffix(".pub").read_text().split()[:2]
    assert keys_of(tmp_path, one=made, two=own.with_suffix(".pub"))["public_keys"] == done["public_keys"]


def test_a_key_of_one_s_own_is_never_generated(tmp_path: Path) -> None:
    done = keys_of(tmp_path, one=tmp_path / "own")
    assert done["failed"]
    assert done["msg"].startswith(f"{tmp_path}/own does not exist")
    assert not (tmp_path / "secrets").exists()


def test_a_card_without_a_login_key_is_not_written(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    done = run_module("flash_keys", directory=str(secrets), ssh_keys={"one": ""}, known_hosts="k", names={})
    assert done["failed"]
    assert f"write {secrets}/id_ed25519, which is generated" in done["msg"]


def test_a_board_that_was_flashed_by_hand_later_keeps_its_host_key(tmp_path: Path) -> None:
    made, known = tmp_path / "secrets" / "id_ed25519", tmp_path / "secrets" / "known_hosts"
    keys_of(tmp_path, one=made, two=made)
    by_hand = "10.0.0.2,two ssh-ed25519 BYHAND"
    known.write_text("\n".join([known.read_text().splitlines()[0], by_hand]) + "\n")
    assert keys_of(tmp_path, one=made)["changed"] is False
    assert by_hand in known.read_text()
    # With a card again it has the key that was made here.
    assert keys_of(tmp_path, one=made, two=made)["changed"]
    assert by_hand not in known.read_text()


def test_a_rotated_login_key_does_not_change_who_the_board_is() -> None:
    text = "ssh_authorized_keys:\n    - ssh-ed25519 AAAAC3{} me@laptop\nruncmd:\n  - [sh, -c, true]\n"
    assert without_login_key(text.format("old")) == without_login_key(text.format("new"))
    assert without_login_key(text.format("old")) != without_login_key(text.format("old") + "# more")
    assert "- [sh, -c, true]" in without_login_key(text.format("old"))


def test_a_board_that_was_flashed_by_hand_keeps_its_host_key_at_another_address(tmp_path: Path) -> None:
    known = tmp_path / "secrets" / "known_hosts"
    keys_of(tmp_path, one=tmp_path / "secrets" / "id_ed25519")
    mine = known.read_text().split()[2]
    # The router has given each the address of the other.
    known.write_text(f"10.0.0.2,one ssh-ed25519 {mine}\n10.0.0.1,two ssh-ed25519 BYHAND\nzeus ssh-rsa B\n")
    assert keys_of(tmp_path)["changed"]
    assert known.read_text() == f"10.0.0.1,one ssh-ed25519 {mine}\n10.0.0.2,two ssh-ed25519 BYHAND\nzeus ssh-rsa B\n"
    assert not keys_of(tmp_path)["changed"]


def test_a_name_with_two_host_keys_has_none() -> None:
    text = "10.0.0.1,pi-01 ssh-ed25519 A\npi-01 ssh-ed25519 B\npi-011 ssh-ed25519 C\n"
    assert key_of(text, "pi-01") == "" and key_of(text, "pi-011") == "ssh-ed25519 C" and key_of(text, "pi") == ""
