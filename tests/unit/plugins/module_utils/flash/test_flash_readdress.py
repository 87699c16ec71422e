"""Another static address for a board that runs: what is written to its boot partition, and who it is then."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.edge_ai.cluster.plugins.filter.flash import flash_moved, flash_new_problem
from ansible_collections.edge_ai.cluster.plugins.module_utils.flash.seed import (
    instance_id,
    meta_data,
    parse_meta_data,
    without_login_key,
)
from flash_helpers import ROLE, run_module

from tests.support import ansible_playbook
from tests.support.paths import ROOT

KEY = "ssh-ed25519 AAAAnew me@laptop"
SEED = {
    "user_data": "_flash_user_data", "present": "_flash_network_config", "keyless": "_flash_keyless_user_data",
    "network_config": "_flash_new_network_config", "problem": "_flash_new_problem",
}  # fmt: skip


@pytest.mark.parametrize(
    ("address", "prefix", "network", "moved"),
    [
        ("192.168.1.11", 24, "192.168.2.0/24", "192.168.2.11"),
        ("192.168.1.11", 24, "10.0.4.0/22", "10.0.4.11"),
        ("10.0.5.11", 22, "192.168.2.0/24", ""),
        ("192.168.1.11", 24, "192.168.2.0/28", "192.168.2.11"),
        ("192.168.1.15", 24, "192.168.2.0/28", ""),
        ("192.168.1.11", 24, "192.168.2.1/24", ""),
        ("192.168.1.11", 24, "192.168.2.0", ""),
        ("pi-01", 24, "192.168.2.0/24", ""),
        ("192.168.1.11", 24, "", ""),
    ],
)
def test_a_board_keeps_its_place_in_another_network(address: str, prefix: int, network: str, moved: str) -> None:
    assert flash_moved(address, prefix, network) == moved


def rendered(folder: Path, *names: str, **variables: Any) -> dict[str, str]:
    """Texts that the role renders for pi-01 with variables of the inventory."""
    texts = "{{ " + f"[{', '.join(SEED[name] for name in names)}]" + " | to_json | b64encode }}"
    key = folder / "secrets/ssh_host_keys/pi-01/ssh_host_ed25519_key"
    if not key.exists():
        key.parent.mkdir(parents=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "pi-01", "-f", str(key)], check=True)
    play = {
        "hosts": "all", "gather_facts": False, "connection": "local",
        "vars_files": [str(ROLE / "defaults/main.yml"), str(ROLE / "vars/main.yml")],
        "vars": {
            "role_path": str(ROLE), "cluster_secrets_dir": str(folder / "secrets"),
            "cluster_cache_dir": str(folder),
        },
        "tasks": [{"ansible.builtin.debug": {"msg": f"SEED {texts} DEES"}}],
    }  # fmt: skip
    (folder / "play.yml").write_text(json.dumps([play]))
    options = ["-i", "pi-01,", "play.yml", "-e", json.dumps(variables)]
    done = ansible_playbook.run(options, cwd=folder)
    match = re.search(r"SEED (\S+)\s+DEES", done.stdout)
    assert match, done.stdout + done.stderr
    return dict(zip(names, json.loads(base64.b64decode(match[1])), strict=True))


class Board:
    """The boot partition and cloud-init's state of pi-01, as its card was written, in a folder."""

    def __init__(self, folder: Path, user_data: str, network_config: str) -> None:
        self.boot, self.cloud = folder / "boot", folder / "cloud"
        self.boot.mkdir()
        (self.cloud / "data").mkdir(parents=True)
        keyless = without_login_key(user_data)
        identity = instance_id("pi-01", keyless, network_config, [], "image")
        parts = {"user-data": keyless, "network-config": network_config, "cmdline": "", "image": "image"}
        files = {"user-data": user_data, "network-config": network_config, "meta-data": meta_data(identity, parts)}
        for name, text in files.items():
            (self.boot / name).write_text(text)
        self.start()

    def start(self) -> str:
        """Who the board is after its next start."""
        identity = parse_meta_data((self.boot / "meta-data").read_text())["instance-id"]
        (self.cloud / "data/instance-id").write_text(identity + "\n")
        return identity

    def texts(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.boot.iterdir()}

    def move(self, seed: dict[str, str], **more: Any) -> dict[str, Any]:
        return run_module(
            "flash_readdress", name="pi-01", user_data=seed["keyless"], present=seed["present"],
            network_config=seed["network_config"], cmdline=[], image="image", boot=str(self.boot),
            cloud=str(self.cloud), **more,
        )  # fmt: skip


HERE = {"ansible_host": "192.168.1.11", "flash_gateway": "192.168.1.1"}
MOVE = {"flash_new_network": "192.168.2.0/24", "flash_new_gateway": "192.168.2.1"}
THERE = {"ansible_host": "192.168.2.11", "flash_gateway": "192.168.2.1"}


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict[str, str]]:
    """What the role renders before the move, and with the inventory after it; here boards have no card in a reader."""
    folder = tmp_path_factory.mktemp("seeds")
    return rendered(folder, *SEED, **HERE, **MOVE), rendered(folder, "user_data", "present", **THERE)


@pytest.fixture
def board(seeds: tuple[dict[str, str], dict[str, str]], tmp_path: Path) -> Board:
    # The card was written with a login key.
    before, _ = seeds
    return Board(tmp_path, before["user_data"].replace("    - \n", f"    - {KEY}\n"), before["present"])


def test_the_seed_is_that_of_the_inventory_after_the_move(seeds: tuple[dict[str, str], dict[str, str]]) -> None:
    before, after = seeds
    assert before["problem"] == ""
    assert before["network_config"] == after["present"] != before["present"]
    assert yaml.safe_load(after["present"])["network"]["ethernets"]["eth0"]["addresses"] == ["192.168.2.11/24"]


def test_a_moved_board_is_the_one_of_the_new_inventory(
    board: Board, seeds: tuple[dict[str, str], dict[str, str]]
) -> None:
    before, after = seeds
    old = board.start()
    texts = board.texts()
    assert board.move(before, _ansible_check_mode=True)["changed"] and board.texts() == texts
    assert board.move(before)["changed"]
    # What site.yml compares it with, when the key is known again.
    keyless = without_login_key(after["user_data"].replace("    - \n", f"    - {KEY}\n"))
    identity = instance_id("pi-01", keyless, after["present"], [], "image")
    wanted = {"user-data": keyless, "network-config": after["present"], "cmdline": "", "image": "image"}
    assert board.texts()["meta-data"] == meta_data(identity, wanted)
    assert board.texts()["network-config"] == after["present"]
    assert not board.move(before)["changed"], "a second run, before the board was switched off"
    assert board.start() == identity != old
    assert not board.move(before)["changed"], "and after it"


def test_a_move_can_be_taken_back(board: Board, seeds: tuple[dict[str, str], dict[str, str]]) -> None:
    before, _ = seeds
    old = board.start()
    board.move(before)
    assert board.move({**before, "network_config": before["present"]})["instance_id"] == old
    assert board.start() == old
    assert board.texts()["network-config"] == before["present"]


def test_a_rotated_login_key_is_not_let_in_again(board: Board, seeds: tuple[dict[str, str], dict[str, str]]) -> None:
    board.move(seeds[0])
    text = board.texts()["user-data"]
    assert "AAAA" not in text
    assert yaml.safe_load(text)["user"].keys() == yaml.safe_load(seeds[0]["user_data"])["user"].keys() - {
        "ssh_authorized_keys"
    }


def test_a_board_that_differs_from_the_inventory_still_does(
    board: Board, seeds: tuple[dict[str, str], dict[str, str]]
) -> None:
    before, after = seeds
    seed = {**before, "keyless": before["keyless"] + "timezone: Asia/Tokyo\n"}
    done = board.move(seed)
    assert done["changed"] and not board.move(seed)["changed"]
    assert board.start() == done["instance_id"]
    inventory = instance_id("pi-01", without_login_key(seed["keyless"]), after["present"], [], "image")
    assert done["instance_id"] != inventory


def test_a_board_that_was_flashed_by_hand_is_left_alone(
    board: Board, seeds: tuple[dict[str, str], dict[str, str]]
) -> None:
    (board.boot / "meta-data").write_text("instance-id: rpi-imager-17\n")
    texts = board.texts()
    done = board.move(seeds[0])
    assert (done["changed"], done["instance_id"]) == (False, "") and "was not flashed" in done["msg"]
    assert board.texts() == texts


def test_a_board_whose_seed_is_not_used_is_refused(board: Board, seeds: tuple[dict[str, str], dict[str, str]]) -> None:
    (board.cloud / "data/instance-id").write_text("another\n")
    texts = board.texts()
    assert "does not set this board up" in board.move(seeds[0])["msg"]
    assert board.texts() == texts


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "Write the new network and its router"),
        ({"flash_new_network": "192.168.2.0"}, "with a place for every board"),
        ({**MOVE, "flash_new_gateway": "router"}, "write the address of the router in"),
        ({**MOVE, "flash_new_gateway": "192.168.2.11"}, "which no board may have"),
        (
            {**MOVE, "k3s_server_config": {"service-cidr": "192.168.0.0/16"}},
            "it overlaps k3s's network of services 192.168.0.0/16",
        ),
    ],
)
def test_a_network_that_boards_cannot_have_is_refused(tmp_path: Path, variables: dict[str, str], words: str) -> None:
    assert words in rendered(tmp_path, "problem", **HERE, **variables)["problem"]


@pytest.mark.parametrize(
    ("network", "gateway", "config", "words"),
    [
        ("192.168.2.0/24", "192.168.2.1", {}, ""),
        ("192.168.2.0/24", "192.168.2.254", {"cluster-cidr": "10.52.0.0/16,fd00:52::/56"}, ""),
        ("192.168.2.0/24", "", {}, ""),
        ("10.42.7.0/24", "10.42.7.1", {"cluster-cidr": ["10.52.0.0/16"]}, ""),
        ("192.168.2.0/24", "192.168.1.1", {}, "write the address of the router in 192.168.2.0/24"),
        ("192.168.2.0/24", "192.168.2.0", {}, "write the address of the router in 192.168.2.0/24"),
        ("192.168.2.0/24", "192.168.2.255", {}, "write the address of the router in 192.168.2.0/24"),
        ("192.168.2.0/24", "192.168.2", {}, "write the address of the router in 192.168.2.0/24"),
        ("10.42.7.0/24", "10.42.7.1", {}, "it overlaps k3s's network of pods 10.42.0.0/16"),
        ("10.40.0.0/14", "10.40.0.1", {}, "it overlaps k3s's network of pods 10.42.0.0/16"),
        ("10.43.0.0/24", "10.43.0.1", {"cluster-cidr": "10.52.0.0/16"}, "network of services 10.43.0.0/16"),
    ],
)
def test_the_router_and_the_networks_of_k3s_limit_a_move(
    network: str, gateway: str, config: dict[str, Any], words: str
) -> None:
    found = flash_new_problem(network, gateway, [flash_moved("192.168.1.11", 24, network)], config)
    assert words in found and bool(found) == bool(words)


def play(folder: Path, spare: list[str]) -> tuple[int, str]:
    """Exit status and output of the role's tasks; pi-02 was flashed by hand, and pi-03 is off."""
    local = {"ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": sys.executable}
    silent = {"ansible_connection": "ssh", "ansible_port": 9, "ansible_ssh_args": "-o ConnectTimeout=2"}
    hosts = {
        "pi-01": local,
        "pi-02": {**local, "ansible_host": "127.0.0.12"},
        "pi-03": {"ansible_host": "127.0.0.13", **silent},
    }
    hosts["pi-01"] = {**local, **HERE}
    shared = {"cluster_secrets_dir": str(folder / "secrets"), "cluster_cache_dir": str(folder), "flash_cmdline": [],
              "flash_image_sha256": "image", **MOVE}  # fmt: skip
    children = {"spare": {"hosts": dict.fromkeys(spare)}, "cluster": {"hosts": hosts}}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": shared, "children": children}}))
    own = {
        "boot": f"{folder}/{{{{ inventory_hostname }}}}/boot",
        "cloud": f"{folder}/{{{{ inventory_hostname }}}}/cloud",
    }
    description = {
        "hosts": "cluster", "gather_facts": False, "module_defaults": {"edge_ai.cluster.flash_readdress": own},
        "tasks": [{"ansible.builtin.import_role": {"name": "flash", "tasks_from": "readdress"}}],
    }  # fmt: skip
    (folder / "play.yml").write_text(json.dumps([description]))
    options = ["-i", folder / "hosts.yml", folder / "play.yml"]
    done = ansible_playbook.run(options, cwd=ROOT)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_no_board_is_moved_before_every_one_can_be(tmp_path: Path) -> None:
    own = rendered(tmp_path, "user_data", "present", **HERE)
    for name in ("pi-01", "pi-02"):
        (tmp_path / name).mkdir()
    board = Board(tmp_path / "pi-01", own["user_data"].replace("    - \n", f"    - {KEY}\n"), own["present"])
    texts = board.texts()
    code, output = play(tmp_path, [])
    assert code != 0 and "pi-03 does not answer at 127.0.0.13: power it on" in output, output
    assert board.texts() == texts
    code, output = play(tmp_path, ["pi-03"])
    assert "pi-01: 192.168.1.11 until it is switched off, 192.168.2.11 at its next start" in output, output
    assert "pi-02 was not flashed by the role flash: its address is not changed" in output
    assert "192.168.2.11/24" in board.texts()["network-config"]
