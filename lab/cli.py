"""The commands of `python -m lab`."""

import argparse
import codecs
import contextlib
import ipaddress
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from lab import board as boards
from lab import (
    byhand,
    gateway,
    kernel,
    launcher,
    mirror,
    network,
    osimage,
    osimage_arm64,
    owner,
    preconditions,
    process,
    release,
    snapshot,
)
from lab.cache import Cache
from lab.errors import LabError
from lab.progress import say
from lab.settings import Settings, cache_root, load

BUILDERS = {"kernel": kernel.build, "os-image": osimage.build, "k3s": release.build}
ON_DEMAND = {
    "k3s-next": release.build_next,
    "os-image-arm64": osimage_arm64.build,
    "k3s-arm64": release.build_arm64,
}
DIGESTS = {"kernel": kernel.digest, "os-image": osimage.digest, "k3s": release.digest}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m lab", description="Virtual Raspberry Pis.")
    commands = top.add_subparsers(dest="command", required=True)

    up_ = commands.add_parser("up", help="build what is missing, bring up network and mirror, power boards on")
    up_.add_argument("--without-k3s", action="store_true", help="do not build a k3s release for the mirror")
    commands.add_parser("check", help="check this machine before its packages are installed; changes nothing")
    down = commands.add_parser("down", help="power everything off and leave nothing behind")
    down.add_argument("--cards", action="store_true", help="delete the boards' cards and logs too")
    build = commands.add_parser(
        "build", help="build into the cache; k3s-next is put on the mirror of a running lab too"
    )
    build.add_argument(
        "what",
        nargs="*",
        metavar="what",
        help=f"one or more of {', '.join(BUILDERS)} (default: these), {', '.join(ON_DEMAND)}",
    )
    build.add_argument("--again", action="store_true", help="build even what is in the cache")
    status = commands.add_parser("status", help="show the lab and its boards")
    status.add_argument("--json", action="store_true", help="for programs")
    power = commands.add_parser("power", help="switch boards on or off")
    power.add_argument("switch", choices=["on", "off"])
    power.add_argument("--hard", action="store_true", help="off: pull the plug, do not press the button")
    power.add_argument("board", nargs="+")
    console = commands.add_parser("console", help="show what a board prints on its serial console")
    console.add_argument("--follow", "-f", action="store_true", help="keep showing it")
    console.add_argument("board")
    net = commands.add_parser("network", help="pull a board's network cable, or plug it in again")
    net.add_argument("action", choices=["cut", "heal"])
    net.add_argument("board", nargs="+")
    clock = commands.add_parser("clock", help="move the time that boards get at their next request, or with 0 back")
    clock.add_argument("days", type=float, help="days ahead of this machine")
    card = commands.add_parser("card", help="write a board's card without the flash role; its login key is new")
    card.add_argument("--by-hand", action="store_true", required=True, help="as Raspberry Pi Imager does")
    card.add_argument("--user", default="ada", help="first user (default: ada)")
    card.add_argument("--hostname", default="raspberrypi", help="host name (default: raspberrypi)")
    card.add_argument("--address", required=True, help="address with prefix length, such as 10.77.0.13/24")
    card.add_argument("--sudo-password", action="store_true", help="sudo asks for the user's password, a new one")
    card.add_argument("--passphrase", action="store_true", help="the login key has a passphrase")
    card.add_argument("board")

    snapshots = commands.add_parser("snapshot", help="keep all boards' cards as they are, and put them back")
    actions = snapshots.add_subparsers(dest="action", required=True)
    save = actions.add_parser("save", help="shut the boards down, copy their cards, power the boards on again")
    save.add_argument("name", metavar="NAME")
    save.add_argument(
        "--include",
        metavar="PATH",
        type=Path,
        action="append",
        default=[],
        help="keep a file or folder of the checkout too, such as secrets/<cluster>; may be repeated",
    )
    save.add_argument("--leave-off", action="store_true", help="do not power the boards on again")
    restore = actions.add_parser("restore", help="pull all plugs, replace all cards, power on the boards that were on")
    restore.add_argument("name", metavar="NAME")
    actions.add_parser("list", help="show snapshots with their size and age")
    delete = actions.add_parser("delete", help="delete a snapshot")
    delete.add_argument("name", metavar="NAME")

    # The lab's own daemons.
    for name in ("_gateway", "_board"):
        daemon = commands.add_parser(name)
        if name == "_board":
            daemon.add_argument("board")
    return top


def built(settings: Settings, cache: Cache) -> bool:
    """Whether everything that the lab builds is in the cache."""
    return all(cache.has(what, digest(settings)) for what, digest in DIGESTS.items())


def up(settings: Settings, with_k3s: bool) -> None:
    """Build what is missing, make the network, start the gateway, power on boards that have a card."""
    with owner.locked(settings, "instance"):
        owner.refuse_if_foreign(settings)
        cache = Cache(cache_root())
        preconditions.check(settings, built(settings, cache))
        kernel_folder = kernel.build(settings, cache)
        osimage.build(settings, cache)
        if with_k3s:
            release.build(settings, cache)

        if not owner.alive(settings) or not network.is_up(settings):
            _sweep(settings)
        network.up(settings)
        settings.mirror_root.mkdir(parents=True, exist_ok=True)
        settings.cards.mkdir(parents=True, exist_ok=True)
        publish(settings, cache)
        owner.write(settings, kernel_folder / kernel.BINARY)
        _start_gateway(settings)
    for board in settings.boards:
        if settings.card(board).is_file():
            try:
                if boards.power_on(settings, board):
                    say(f"{board.name} is on")
            except LabError as error:
                say(f"{board.name} stays off: {error}")
    say(f"the lab is up: mirror {settings.mirror_url}/, cards in {settings.cards}")


def publish(settings: Settings, cache: Cache) -> None:
    """Offer on the mirror what has been built, also what is only built on demand."""
    images = cache.find("os-image", osimage.digest(settings))
    images += cache.find("os-image-arm64", osimage_arm64.digest(settings))
    mirror.publish_os_images(settings, images)
    releases = cache.find("k3s", release.digest(settings)) + cache.find("k3s-arm64", release.arm64_digest(settings))
    mirror.publish_k3s(settings, settings.k3s_version, releases)
    mirror.publish_k3s(settings, settings.k3s_next, cache.find("k3s-next", release.next_digest(settings)))


def _start_gateway(settings: Settings) -> None:
    pid_file = gateway.pid_file(settings)
    if process.running(pid_file):
        return
    stale = process.read_identity(pid_file)
    if stale:
        process.kill_session(stale)
    settings.logs.mkdir(parents=True, exist_ok=True)
    process.start_daemon(["_gateway"], pid_file, settings.logs / "gateway.log")


def _sweep(settings: Settings) -> None:
    """End all processes of the instance at once, recorded or not."""
    for path in [*settings.run.glob("*.pid"), *settings.run.glob("*.guest")]:
        identity = process.read_identity(path)
        if identity:
            process.kill_session(identity)
        path.unlink()
    for pid in network.pids(settings):
        process.kill(pid)


def down(settings: Settings, cards: bool) -> None:
    """Power off all boards and remove processes, namespace, rules and marks.

    Boards whose cards are deleted are not shut down first: there is nothing for them to write back.
    """
    with owner.locked(settings, "instance"):
        owner.refuse_if_foreign(settings)
        if not cards:
            boards.shut_down(settings, settings.boards)
        _sweep(settings)
        network.down(settings)
        # A command that waited for the lock may find all done.
        shutil.rmtree(settings.run, ignore_errors=True)
        if not any(settings.run.parent.glob("*/owner.json")):
            network.restore_machine(settings)
            shutil.rmtree(settings.run.parent, ignore_errors=True)
        if cards:
            shutil.rmtree(settings.cards, ignore_errors=True)
            shutil.rmtree(settings.logs, ignore_errors=True)
            shutil.rmtree(settings.by_hand, ignore_errors=True)
        shutil.rmtree(settings.mirror_root, ignore_errors=True)
    say("the lab is down")


def build(settings: Settings, what: list[str], again: bool) -> None:
    """Build into the cache; prints the folder of each build.

    Raises:
        LabError: there is no such thing to build.
    """
    cache = Cache(cache_root())
    builders = BUILDERS | ON_DEMAND
    unknown = [name for name in what if name not in builders]
    if unknown:
        raise LabError(f"nothing to build is called {', '.join(unknown)}; there are {', '.join(builders)}")
    for name in what or list(BUILDERS):
        folder = builders[name](settings, cache, again)
        print(folder)
        if name in ON_DEMAND and owner.alive(settings):
            with owner.locked(settings, "instance"):
                owner.refuse_if_foreign(settings)
                publish(settings, cache)
            say(f"{name} is on the mirror: {settings.mirror_url}/")


def status(settings: Settings, as_json: bool) -> None:
    """Print the state of the lab and its boards."""
    mark = owner.read(settings)
    identity = process.running(gateway.pid_file(settings))
    is_up = identity is not None and network.is_up(settings)
    described = [boards.describe(settings, board, is_up) for board in settings.boards]
    report = {
        "name": settings.name,
        "up": is_up,
        "owner": mark.root if mark else None,
        "gateway": settings.gateway,
        "gateway_pid": identity.pid if identity else None,
        "mirror": settings.mirror_url,
        "namespace": settings.namespace,
        "boards": described,
    }
    if as_json:
        print(json.dumps(report, indent=1))
        return
    print(f"lab {settings.name}: {'up' if is_up else 'down'}, mirror {settings.mirror_url}/")
    for entry in described:
        seed = "seeded" if entry["seeded"] else "not seeded" if entry["card_present"] else "no card"
        since = f"{entry['uptime']:.0f} s" if entry["uptime"] else "-"
        state = f"{entry['power']:4} {since:>8}  {entry['network']:10} {seed:11}"
        print(f"  {entry['name']:12} {state} {entry['card']}")


def power(settings: Settings, switch: str, names: list[str], hard: bool) -> None:
    """Switch boards on or off."""
    chosen = [settings.board(name) for name in names]
    if switch == "on":
        changed = [board for board in chosen if boards.power_on(settings, board)]
    elif hard:
        changed = [board for board in chosen if boards.power_off(settings, board, hard=True)]
    else:
        changed = boards.shut_down(settings, chosen)
    for board in chosen:
        print(f"{board.name} is {switch}" if board in changed else f"{board.name} was {switch} already")


def console(settings: Settings, name: str, follow: bool) -> None:
    """Show a board's console log."""
    path = settings.console(settings.board(name))
    if not path.is_file():
        raise LabError(f"{name} has not been powered on yet: there is no {path}")
    argv = ["tail", "-n", "+1" if not follow else "50", *(["-F"] if follow else []), str(path)]
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    with subprocess.Popen(argv, stdout=subprocess.PIPE, bufsize=0) as tail, contextlib.suppress(KeyboardInterrupt):
        assert tail.stdout
        while said := tail.stdout.read(1 << 16):
            print(shown(decode(said)), end="", flush=True)


def shown(said: str) -> str:
    """What a board printed, with control characters as escapes: whoever is root there may print anything.

    Without colours, which systemd has in each of its lines.
    """
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said.replace("\r\n", "\n"))
    return "".join(
        one if one in "\n\t" or one.isprintable() else one.encode("unicode_escape").decode() for one in plain
    )


def cable(settings: Settings, action: str, names: list[str]) -> None:
    """Pull or plug network cables."""
    owner.require_up(settings)
    for board in [settings.board(name) for name in names]:
        (network.cut if action == "cut" else network.heal)(settings, board)
        print(f"{board.name}: network {'cut' if action == 'cut' else 'connected'}")


def clock(settings: Settings, days: float) -> None:
    """Move the time that boards get from the gateway."""
    owner.require_up(settings)
    settings.clock.write_text(str(days * 86400))
    print(f"boards get a time {days:g} days ahead: systemctl restart systemd-timesyncd on a board fetches it at once")


def write_card(settings: Settings, options: argparse.Namespace) -> None:
    """Write a card as for a board that is flashed by hand; prints the folder of its login key."""
    try:
        ipaddress.ip_interface(options.address)
    except ValueError as error:
        raise LabError(f"--address: {error}") from None
    for option in ("user", "hostname"):
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", getattr(options, option)):
            raise LabError(f"--{option}: {getattr(options, option)!r} is not 1 to 32 of a-z, 0-9 and hyphens")
    board = settings.board(options.board)
    choice = byhand.Choice(options.user, options.hostname, options.address, options.sudo_password, options.passphrase)
    print(byhand.write(settings, Cache(cache_root()), board, choice))


def snapshots(settings: Settings, options: argparse.Namespace) -> None:
    """Save, restore, list or delete snapshots."""
    match options.action:
        case "save":
            snapshot.save(settings, options.name, options.include, options.leave_off)
        case "restore":
            snapshot.restore(settings, options.name)
        case "list":
            print(snapshot.table(settings))
        case "delete":
            snapshot.delete(settings, options.name)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; exit status 0, or 1 with a message that explains."""
    options = parser().parse_args(arguments)
    try:
        settings = load()
        match options.command:
            case "up":
                up(settings, not options.without_k3s)
            case "check":
                # Packages can still be installed; what prevents that cannot.
                preconditions.check(settings, built(settings, Cache(cache_root())), packages_too=False)
            case "down":
                down(settings, options.cards)
            case "build":
                build(settings, options.what, options.again)
            case "status":
                status(settings, options.json)
            case "power":
                power(settings, options.switch, options.board, options.hard)
            case "console":
                console(settings, options.board, options.follow)
            case "network":
                cable(settings, options.action, options.board)
            case "clock":
                clock(settings, options.days)
            case "card":
                write_card(settings, options)
            case "snapshot":
                snapshots(settings, options)
            case "_gateway":
                return gateway.main(settings)
            case "_board":
                return launcher.main(settings, options.board)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read the output has seen enough; Python must not complain at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    return 0
