import pytest

from lab import cmdline
from lab.errors import LabError
from lab.settings import Board

STOCK = (
    "console=serial0,115200 console=tty1 root=PARTUUID=1234abcd-02 rootfstype=ext4 fsck.repair=yes rootwait resize\n"
)
BOARD = Board("pi-01", "dc:a6:32:00:00:01", "10000000a1b20001", "c03115", "3G", 0)


def reaching(text: str) -> list[str]:
    return cmdline.firmware_tokens(cmdline.tokens_of(text))


def test_firmware_turns_the_memory_cgroup_off_and_drops_consoles():
    assert reaching(STOCK) == [
        "cgroup_disable=memory",
        "root=PARTUUID=1234abcd-02",
        "rootfstype=ext4",
        "fsck.repair=yes",
        "rootwait",
        "resize",
    ]


@pytest.mark.parametrize(
    ("added", "disabled"),
    [
        ("cgroup_enable=memory", False),
        ("cgroup_memory=1 cgroup_enable=memory", False),
        ("cgroup_enable=cpuset,memory", False),
        ("cgroup_enable=cpuset", True),
        ("cgroup_memory=1", True),
        ("cgroup_disable=memory cgroup_enable=memory", False),
        ("cgroup_enable=memory cgroup_disable=memory", True),
        ("xcgroup_enable=memory", True),
    ],
)
def test_the_last_word_on_the_memory_cgroup_wins(added, disabled):
    tokens = reaching(f"root=/dev/x {added}")
    assert ("cgroup_disable=memory" in tokens) is disabled


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "0 lines"),
        ("root=/dev/x\nquiet\n", "2 lines"),
        ("quiet rootwait", "no root="),
    ],
)
def test_a_broken_cmdline_says_what_is_wrong(text, complaint):
    with pytest.raises(LabError, match=complaint):
        cmdline.tokens_of(text)


def test_a_final_empty_line_is_no_second_line():
    assert cmdline.tokens_of("root=/dev/x\n\n") == ["root=/dev/x"]


def test_kernel_arguments_are_hardware_then_card():
    arguments = cmdline.kernel_arguments(["root=/dev/x"], BOARD, "pi-01", "10.77.0.1")
    assert "mem=3G" in arguments
    assert "noreboot" in arguments
    assert "vec0:transport=raw,ifname=pi-01,depth=128,mac=dc:a6:32:00:00:01" in arguments
    assert "edge_lab.model=Raspberry_Pi_4_Model_B_Rev_1.5" in arguments
    assert arguments[-1] == "root=/dev/x"
    assert not [argument for argument in arguments if " " in argument]


def test_after_the_first_boot_the_disk_has_a_new_id_and_added_tokens_survive():
    text = STOCK.strip() + " cgroup_enable=memory"
    assert cmdline.without_resize(text, "deadbeef") == (
        "console=serial0,115200 console=tty1 root=PARTUUID=deadbeef-02 rootfstype=ext4 fsck.repair=yes rootwait"
        " cgroup_enable=memory\n"
    )
