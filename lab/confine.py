"""Runs a guest's kernel, or QEMU, where it can reach nothing of this machine but what it is made of.

The kernel has hostfs, and whoever is root on a board can load code into it: then it is an ordinary process that does
what it likes. So it runs as a user that owns nothing else, in a mount namespace that holds nothing else, and without
any privilege but raw packets in the network namespace of its lab. (The vector driver can be handed an open socket
instead, but loses it whenever the board takes its interface down. QEMU needs none: it is handed its network device.)

Started by the launcher as a program of its own, with nothing but Python's library: it takes 30 ms of each boot.
"""

import argparse
import ctypes
import os
import signal
from pathlib import Path

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUTS = 0x20000, 0x8000000, 0x4000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
MNT_DETACH = 2
SYS_PIVOT_ROOT, SYS_CAPSET = 155, 126
"""Numbers of x86_64, where alone User-mode Linux runs."""
PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 1, 8, 24, 38, 47
PR_CAP_AMBIENT_RAISE = 2
CAP_NET_RAW = 13
CAPABILITY_VERSION_3 = 0x20080522
ADDR_NO_RANDOMIZE = 0x40000
LIBGCC = Path("/lib/x86_64-linux-gnu/libgcc_s.so.1")
"""Every Debian has it: its C library depends on it."""

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _mount(source: str, target: Path, kind: str, flags: int, options: str = "") -> None:
    words = (source.encode(), str(target).encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())
    _checked(_libc.mount(*words), f"mount {source} {target}")


def _prctl(*words: int) -> None:
    _checked(_libc.prctl(*(ctypes.c_ulong(word) for word in words)), f"prctl {words[0]}")


def bind(source: Path, target: Path, flags: int) -> None:
    """Show a file or folder of this machine at `target`, with mount flags of its own."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.mkdir(exist_ok=True) if source.is_dir() else target.touch()
    _mount(str(source), target, "", MS_BIND)
    _mount("", target, "", MS_BIND | MS_REMOUNT | flags)


def build_root(root: Path, shown: list[Path], card: Path, uml_dir: Path, memory_mib: int) -> None:
    """Make `root` the root of a mount namespace of this process alone.

    Args:
        root: an empty folder.
        shown: the program, its libraries and what it reads, files or folders; they keep their paths.
        card: the card image; it becomes /card.img.
        uml_dir: folder for the management socket; it becomes /uml.
        memory_mib: memory of the guest.
    """
    _checked(_libc.unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS), "unshare")
    _mount("", Path("/"), "", MS_REC | MS_PRIVATE)
    _mount("none", root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m")
    for path in shown:
        bind(path, root / path.relative_to("/"), MS_RDONLY | MS_NOSUID | MS_NODEV)
    # The end of a guest cancels a thread, and the C library then wants this one.
    bind(LIBGCC, root / LIBGCC.relative_to("/"), MS_RDONLY | MS_NOSUID | MS_NODEV)
    bind(card, root / "card.img", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    bind(uml_dir, root / "uml", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    bind(Path("/proc/cpuinfo"), root / "proc/cpuinfo", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
    bind(Path("/dev/null"), root / "dev/null", MS_NOSUID | MS_NOEXEC)
    # The guest's memory is a file, which is mapped as code too; anywhere but in tmpfs it would be a disk's speed.
    (root / "dev/shm").mkdir()
    _mount("none", root / "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, f"mode=1777,size={memory_mib + 256}m")
    _mount("", root, "", MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, "mode=755,size=1m")
    os.chdir(root)
    # Old and new root in one place; the old one, then on top, goes.
    _checked(_libc.syscall(SYS_PIVOT_ROOT, b".", b"."), "pivot_root")
    _checked(_libc.umount2(b".", MNT_DETACH), "umount")
    os.chdir("/")


def drop_privileges(uid: int, raw_packets: bool) -> None:
    """Become a user that may do nothing but open raw sockets, or not even that, for good."""
    kept = CAP_NET_RAW if raw_packets else None
    for capability in range(64):
        if capability != kept and _libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0):
            # The first number that this machine's kernel does not know.
            break
    _prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    only = 1 << CAP_NET_RAW if raw_packets else 0
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    # Twice effective, permitted, inheritable: the lower and the upper 32 capabilities.
    _checked(_libc.syscall(SYS_CAPSET, header, (ctypes.c_uint32 * 6)(only, only, only, 0, 0, 0)), "capset")
    if raw_packets:
        _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0)
    _prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def main() -> None:
    """Confine this process and become the kernel."""
    options = argparse.ArgumentParser()
    for name in ("root", "kernel", "card", "uml-dir"):
        options.add_argument(f"--{name}", type=Path, required=True)
    for name in ("uid", "memory"):
        options.add_argument(f"--{name}", type=int, required=True)
    options.add_argument("--read", type=Path, action="append", default=[])
    options.add_argument("--raw-packets", action=argparse.BooleanOptionalAction, default=True)
    options.add_argument("arguments", nargs="+")
    given = options.parse_args()
    for path in (given.card, given.uml_dir):
        os.chown(path, given.uid, given.uid)
    given.card.chmod(0o600)
    launcher = os.getppid()
    shown = given.read or [given.kernel.parent]
    build_root(given.root, shown, given.card, given.uml_dir, given.memory)
    drop_privileges(given.uid, given.raw_packets)
    # After the change of user, which resets it. The guest ends with the launcher, however that ends.
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != launcher:
        raise SystemExit("the launcher has ended")
    # The kernel would do so itself and start again, by a link in /proc.
    _libc.personality(ADDR_NO_RANDOMIZE)
    os.execve(given.kernel, [str(given.kernel), *given.arguments], {"PATH": "/", "TMPDIR": "/dev/shm", "HOME": "/"})


if __name__ == "__main__":
    main()
