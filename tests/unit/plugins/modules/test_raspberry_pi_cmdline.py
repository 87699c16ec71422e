"""cmdline.txt on the card."""

from pathlib import Path

from ansible_collections.edge_ai.cluster.plugins.modules import raspberry_pi_cmdline

LINE = "console=serial0,115200 console=tty1 root=PARTUUID=4f6d5c2e-02 rootfstype=ext4 fsck.repair=yes rootwait"


def test_the_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "cmdline.txt"
    path.write_text(LINE)
    raspberry_pi_cmdline.store(path, LINE + " more\n")
    assert path.read_text() == LINE + " more\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["cmdline.txt"]
