"""NAT for the boards' kernel: modules that Debian's User-mode Linux leaves out, built from Debian's source of it.

forky's user-mode-linux (7.2) has neither the old `iptable_nat` nor nf_tables for IPv4, so a board could not translate
an address: no Service, no NodePort, no way out for a pod. Three modules, built with the kernel's own configuration,
mend that.
"""

import gzip
import os
import re
from pathlib import Path

from lab.command import run
from lab.errors import LabError

OPTIONS = {"NF_TABLES_IPV4": "y", "NF_TABLES_IPV6": "y", "NFT_NAT": "m", "LOCALVERSION_AUTO": "n"}
"""What is changed in the kernel's configuration. NF_TABLES_INET must stay off: it changes the layout of structures
that the running kernel has already, and the first rule then ends in a panic."""

MODULES = ("nf_tables", "nft_chain_nat", "nft_nat")

UNUSED = (
    "Documentation/*.rst",
    "Documentation/*.yaml",
    "drivers/*.c",
    "sound/*.c",
    "fs/*.c",
    "tools/testing",
    "tools/perf",
)
"""A half of the source, not needed to build these modules."""


def source_package(release: str) -> str:
    """Debian's package with the source of a kernel release: 7.2.7 -> linux-source-7.2."""
    return "linux-source-" + ".".join(release.split(".")[:2])


def embedded_config(module: bytes) -> str:
    """The kernel's configuration out of its module configs.ko.

    Raises:
        LabError: there is none in it.
    """
    found = re.search(rb"IKCFG_ST(.*)IKCFG_ED", module, re.DOTALL)
    if not found:
        raise LabError("the kernel's configs.ko holds no configuration")
    return gzip.decompress(found[1]).decode()


def with_options(config: str, options: dict[str, str]) -> str:
    """A kernel configuration with some options set; each appears once."""
    names = "|".join(options)
    kept = [line for line in config.splitlines() if not re.match(rf"(# )?CONFIG_({names})[= ]", line)]
    return "\n".join([*kept, *(f"CONFIG_{name}={value}" for name, value in options.items())]) + "\n"


def with_release(makefile: str, release: str) -> str:
    """The kernel's Makefile saying it is `release`.

    Debian's source package moves on within a series; modules load only into the release that they name.
    """
    return re.sub(r"^SUBLEVEL = .*$", f"SUBLEVEL = {release.split('.')[2]}", makefile, count=1, flags=re.MULTILINE)


def add(modules: Path, source: Path, work: Path) -> None:
    """Build the modules and put them among the kernel's own.

    Args:
        modules: folder of one kernel release, such as modules/7.2.7.
        source: linux-source-*.tar.xz.
        work: an empty folder to build in.
    """
    work.mkdir()
    run("tar", "-xf", source, "-C", work, "--strip-components=1", *(f"--exclude=*/{pattern}" for pattern in UNUSED))
    makefile = work / "Makefile"
    makefile.write_text(with_release(makefile.read_text(), modules.name))
    config = embedded_config((modules / "kernel/kernel/configs.ko").read_bytes())
    (work / ".config").write_text(with_options(config, OPTIONS))
    make: list[str | Path] = ["make", "-C", work, "ARCH=um", f"-j{os.cpu_count()}"]
    run(*make, "olddefconfig")
    run(*make, "modules_prepare")
    # The kernel's own symbols are known when the module is loaded, not now.
    run(*make, "KBUILD_MODPOST_WARN=1", *(f"net/netfilter/{name}.ko" for name in MODULES))
    for name in MODULES:
        built = work / "net/netfilter" / f"{name}.ko"
        built.replace(modules / "kernel/net/netfilter" / built.name)
