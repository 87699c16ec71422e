import pytest

from lab import settings
from lab.errors import LabError

SHIPPED = (settings.PACKAGE / "lab.toml").read_text()


def board(**changes):
    table = {
        "name": "pi-09",
        "mac": "dc:a6:32:1a:b0:09",
        "serial": "10000000a1b20009",
        "revision": "c03115",
        "memory": "1G",
        **changes,
    }
    lines = (f"{key} = {value!r}" for key, value in table.items() if value is not None)
    return "\n[[boards]]\n" + "\n".join(lines).replace('"', "'") + "\n"


def complaint(text, environment=None):
    with pytest.raises(LabError) as error:
        settings.parse(text, environment or {}, cpus=2)
    return str(error.value)


def test_the_shipped_file_declares_the_inventory_s_boards_on_alternating_cores():
    lab = settings.parse(SHIPPED, {}, cpus=2)
    assert [board.name for board in lab.boards] == ["pi-01", "pi-02", "pi-03", "pi-05", "pi-06"]
    assert [board.core for board in lab.boards] == [0, 1, 0, 1, 0]
    assert [board.arch for board in lab.boards] == [*["amd64"] * 4, "arm64"]
    assert {board.model for board in lab.boards} == {"Raspberry Pi 4 Model B Rev 1.5"}
    assert lab.gateway == "10.77.0.1"
    assert lab.namespace == "edge-lab"


def test_twenty_boards_are_a_matter_of_blocks():
    more = "".join(
        board(name=f"pi-{n}", mac=f"dc:a6:32:1a:b0:{n}", serial=f"10000000a1b200{n}", memory="512M")
        for n in range(10, 26)
    )
    lab = settings.parse(SHIPPED + more, {}, cpus=2)
    assert len(lab.boards) == 21
    assert lab.board("pi-25").memory_mib == 512


def test_the_environment_names_another_file_of_boards():
    lab = settings.parse(SHIPPED, {"EDGE_LAB_BOARDS": "lab/twenty.toml"}, cpus=2)
    assert [board.name for board in lab.boards] == [f"pi-{n:02}" for n in range(1, 21)]
    # Half of them on each core, and all of them on a machine of 24 GiB.
    assert sum(board.core for board in lab.boards) == 10
    assert sum(board.memory_mib for board in lab.boards) < 16 * 1024
    assert lab.k3s_version == settings.parse(SHIPPED, {}, cpus=2).k3s_version
    with pytest.raises(LabError, match=r"no such board in lab/twenty\.toml"):
        lab.board("pi-21")


def test_another_file_of_boards_that_is_missing_or_wrong_is_named():
    assert "EDGE_LAB_BOARDS: lab/thirty.toml: No such file" in complaint(
        SHIPPED, {"EDGE_LAB_BOARDS": "lab/thirty.toml"}
    )
    said = complaint(SHIPPED, {"EDGE_LAB_BOARDS": "pyproject.toml"})
    assert said.startswith("lab/lab.toml and pyproject.toml cannot be used")
    assert "[[boards]]: there is none" in said


def test_a_second_instance_shares_nothing_with_the_first():
    first = settings.parse(SHIPPED, {}, cpus=2)
    second = settings.parse(SHIPPED, {"EDGE_LAB_NAME": "two", "EDGE_LAB_SUBNET": "10.78.0"}, cpus=2)
    for attribute in ("namespace", "gateway", "mirror_url", "state", "run", "cards", "mirror_root"):
        assert getattr(first, attribute) != getattr(second, attribute)


@pytest.mark.parametrize(
    ("added", "message"),
    [
        (
            board(mac="DC:A6:32:1A:B0:09"),
            "[[boards]] pi-09: mac 'DC:A6:32:1A:B0:09' is not a MAC address in lower case",
        ),
        (board(mac="dc:a6:32:1a:b0:01"), "[[boards]] pi-09: mac 'dc:a6:32:1a:b0:01' is already that of pi-01"),
        (board(serial="a1b2"), "[[boards]] pi-09: serial 'a1b2' is not 16 hex digits"),
        (board(serial="10000000a1b20002"), "serial '10000000a1b20002' is already that of pi-02"),
        (board(name="pi-01"), "name 'pi-01' is already that of pi-01"),
        (board(name="Pi_9"), "name 'Pi_9' is not a host name"),
        (board(name="a-name-too-long-for-linux"), "is not a host name of at most 12"),
        (board(memory="3"), "memory '3' is not a whole number and M or G"),
        (board(memory=None), "memory None is not"),
        (board(revision="900092"), "revision '900092' is not a Raspberry Pi 4 B"),
        (board(core=2), "core 2 is not a processor of this machine (0 to 1)"),
        (board(arch="armhf"), "[[boards]] pi-09: arch 'armhf' is not amd64 or arm64"),
        (board(colour="red"), "[[boards]] pi-09: unknown key 'colour'"),
    ],
)
def test_a_wrong_board_is_named_with_what_to_write(added, message):
    assert message in complaint(SHIPPED + added)


def test_all_mistakes_are_listed_at_once():
    said = complaint(SHIPPED.replace('"10.77.0"', '"10.77"') + board(memory="x", serial="y"), {"EDGE_LAB_NAME": "A-B"})
    for part in ("[network] subnet", "memory 'x'", "serial 'y'", "EDGE_LAB_NAME"):
        assert part in said


@pytest.mark.parametrize("subnet", ["10.78", "10.78.0.0", "10.300.0", "ten"])
def test_a_wrong_subnet_in_the_environment_is_refused(subnet):
    assert f"subnet '{subnet}'" in complaint(SHIPPED, {"EDGE_LAB_SUBNET": subnet})


def test_a_file_without_boards_is_refused():
    assert "[[boards]]: there is none" in complaint(SHIPPED.split("# revision")[0])


def test_broken_toml_names_the_line():
    assert "line 2" in complaint("[network]\nsubnet =\n")


def test_an_unknown_board_names_the_known_ones():
    with pytest.raises(LabError, match=r"pi-99: no such board .*pi-01, pi-02"):
        settings.parse(SHIPPED, {}, cpus=2).board("pi-99")


@pytest.mark.parametrize("revision", ["a03111", "b03112", "c03114", "d03115"])
def test_model_and_revision_agree(revision):
    assert settings.Board("x", "", "", revision, "1G", 0).model == f"Raspberry Pi 4 Model B Rev 1.{revision[-1]}"


def test_the_release_to_upgrade_to_is_another_one():
    same = SHIPPED.replace('next = "v1.36.3+lab2"', 'next = "v1.36.3+lab1"')
    assert "[k3s] next: 'v1.36.3+lab1' is [k3s] version already" in complaint(same)


def test_every_instance_has_a_user_of_its_own_that_no_system_gives_away():
    users = [settings.parse(SHIPPED, {"EDGE_LAB_NAME": "x", "EDGE_LAB_SUBNET": net}, cpus=2).uid for net in NETWORKS]
    assert len(set(users)) == len(NETWORKS)
    assert all(1_879_048_191 < uid < 2**31 for uid in users)


NETWORKS = ("10.77.0", "10.78.0", "10.77.1", "192.168.255", "0.0.0", "255.255.255")
