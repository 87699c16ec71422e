"""Cards as Raspberry Pi Imager writes them."""

import yaml

from lab import byhand

KEY = "ssh-ed25519 AAAA by-hand"


def choice(password: bool) -> byhand.Choice:
    return byhand.Choice("ada", "raspberrypi", "10.77.0.12/24", password, False)


def test_a_user_with_a_password_gives_it_to_sudo():
    seed = yaml.safe_load(byhand.user_data(choice(True), KEY, "$6$salt$hash"))
    user = seed["user"]
    assert (user["name"], user["sudo"], user["lock_passwd"], user["passwd"]) == ("ada", None, False, "$6$salt$hash")
    assert user["ssh_authorized_keys"] == [KEY]
    assert "sudo" in user["groups"].split(",")
    assert seed["hostname"] == "raspberrypi" and seed["manage_etc_hosts"] is True


def test_a_user_without_a_password_needs_none():
    user = yaml.safe_load(byhand.user_data(choice(False), KEY, ""))["user"]
    assert user["sudo"] == "ALL=(ALL) NOPASSWD:ALL" and user["lock_passwd"] is True and "passwd" not in user


def test_the_board_has_the_address_that_a_router_would_give_it():
    wired = yaml.safe_load(byhand.network_config("10.77.0.12/24", "10.77.0.1"))["network"]["ethernets"]["eth0"]
    assert wired["addresses"] == ["10.77.0.12/24"]
    assert wired["routes"] == [{"to": "default", "via": "10.77.0.1"}]


def test_keys_and_passwords_are_their_owner_s_alone(tmp_path):
    public = byhand._make_key(tmp_path, passphrase=True)
    assert public.startswith("ssh-ed25519 ")
    assert byhand._make_password(tmp_path).startswith("$6$")
    for name in ("id_ed25519", "passphrase", "password"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0, name
