"""Settings of the kernel that are not as they should be."""

from pathlib import Path

from ansible_collections.edge_ai.cluster.plugins.module_utils.sysctl import differing


def test_kernel_parameters_that_differ_are_reported(tmp_path: Path) -> None:
    (tmp_path / "kernel/keys").mkdir(parents=True)
    (tmp_path / "kernel/panic").write_text("0\n")
    (tmp_path / "kernel/printk").write_text("4\t4\t1\t7\n")
    (tmp_path / "kernel/keys/root_maxkeys").write_text("1000000\n")
    wanted = {
        "kernel.panic": 10,
        "kernel.printk": "4 4 1 7",
        "kernel.keys.root_maxkeys": 1000000,
        "vm.panic_on_oom": 0,
    }
    assert differing(wanted, tmp_path) == {"kernel.panic": "0", "vm.panic_on_oom": None}
    assert differing({}, tmp_path) == {}
