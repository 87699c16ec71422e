"""Snapshots of an instance: its boards' cards, and files of the control node that belong to them.

They lie in the checkout's .lab/ and not in the user's cache: cards hold secrets of this checkout's clusters, and on the
cards' own file system a copy costs nothing where that can share blocks.
"""

import ctypes
import json
import os
import re
import shutil
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab import board as boards
from lab import kernel, network, owner
from lab.command import run
from lab.errors import LabError
from lab.progress import say
from lab.settings import ROOT, Settings

KEPT = 3
"""How many snapshots of an instance are kept, those saved last: each is as large as its cards."""

MANIFEST = "snapshot.json"
NAME = r"[a-z0-9][a-z0-9._-]{0,63}"


@dataclass(frozen=True)
class Snapshot:
    """What a snapshot was made of."""

    made: float
    """Unix time."""
    name: str
    subnet: str
    kernel: str
    """Digest of the kernel's build: modules on the cards load only into that kernel."""
    boards: list[dict[str, str]]
    """Identity of each declared board: name, mac, serial, revision."""
    on: list[str]
    """Boards that were on, and will be again."""
    included: list[str]
    """Paths in the checkout that were kept along with the cards."""


def identity(settings: Settings) -> dict[str, Any]:
    """The settings that an instance must share with a snapshot to run its cards."""
    keys = ("name", "mac", "serial", "revision")
    declared = [{key: getattr(board, key) for key in keys} for board in settings.boards]
    return {
        "name": settings.name,
        "subnet": settings.subnet,
        "kernel": kernel.digest(settings),
        "boards": declared,
    }


def differences(found: Snapshot, settings: Settings) -> list[str]:
    """What of this instance does not fit a snapshot, each with what to do about it."""
    ours, theirs, problems = identity(settings), asdict(found), []
    remedies = {
        "name": f"set EDGE_LAB_NAME={found.name}",
        "subnet": f"the addresses are on the cards: set EDGE_LAB_SUBNET={found.subnet}",
        "kernel": "its modules are on the cards: save a new snapshot, or check out the sources of the old one",
    }
    for key, remedy in remedies.items():
        if theirs[key] != ours[key]:
            problems.append(f"{key}: the snapshot has {theirs[key]}, this instance {ours[key]}; {remedy}")
    if theirs["boards"] != ours["boards"]:
        named = [", ".join(" ".join(board.values()) for board in each["boards"]) for each in (theirs, ours)]
        problems.append(f"boards: the snapshot has {named[0]}; lab/lab.toml declares {named[1]}; declare the same ones")
    return problems


def read(settings: Settings, name: str) -> Snapshot:
    """The snapshot of that name.

    Raises:
        LabError: there is none, or another version of the lab wrote it.
    """
    path = settings.snapshots / name / MANIFEST
    try:
        if not re.fullmatch(NAME, name):
            raise FileNotFoundError
        return Snapshot(**json.loads(path.read_text()))
    except FileNotFoundError:
        known = ", ".join(names(settings)) or "none"
        raise LabError(f"{name}: the instance `{settings.name}` has no such snapshot (there are: {known})") from None
    except (ValueError, TypeError) as error:
        raise LabError(
            f"{path} cannot be read ({error}): delete it with `python -m lab snapshot delete {name}`"
        ) from None


def names(settings: Settings) -> list[str]:
    """Names of the instance's snapshots, the one saved last first."""
    found = [path for path in settings.snapshots.glob("*") if re.fullmatch(NAME, path.name)]
    return [path.name for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)]


def save(settings: Settings, name: str, include: list[Path], leave_off: bool) -> None:
    """Shut the boards down, copy their cards and files of the checkout, and power them on again.

    Args:
        settings: the instance; it must be up when boards are to be powered on again.
        name: a snapshot of that name is replaced.
        include: files or folders in the checkout.
        leave_off: do not power the boards on again.

    Raises:
        LabError: a name or path cannot be used, there is no card, or the disk is too small.
    """
    if not re.fullmatch(NAME, name):
        raise LabError(f"{name!r} cannot name a snapshot: use letters in lower case, digits, '.', '_' and '-'")
    included = [_in_checkout(path) for path in include]
    cards = [settings.card(board) for board in settings.boards if settings.card(board).is_file()]
    if not cards:
        raise LabError(f"there is no card in {settings.cards}, so there is nothing to keep")
    with owner.locked(settings, "instance"):
        owner.refuse_if_foreign(settings)
        _sweep(settings)
        on = boards.shut_down(settings, settings.boards)
        try:
            with _all_off(settings):
                settings.snapshots.mkdir(parents=True, exist_ok=True)
                work = settings.snapshots / f".{name}-{os.getpid()}"
                # No other user may read secrets and cards.
                (work / "cards").mkdir(parents=True, mode=0o700)
                work.chmod(0o700)
                _copy(cards, work / "cards")
                for path in included:
                    place = work / "included" / path
                    place.parent.mkdir(parents=True, exist_ok=True)
                    _copy([ROOT / path], place)
                found = Snapshot(
                    made=time.time(), on=[board.name for board in on], included=included, **identity(settings)
                )
                (work / MANIFEST).write_text(json.dumps(asdict(found), indent=1) + "\n")
                _replace(work, settings.snapshots / name)
        finally:
            _sweep(settings)
            if not leave_off:
                for board in on:
                    boards.power_on(settings, board)
        for old in names(settings)[KEPT:]:
            say(f"snapshot {old} is deleted: the last {KEPT} are kept")
            delete(settings, old)
    say(f"snapshot {name} is saved: {settings.snapshots / name}")


def restore(settings: Settings, name: str) -> None:
    """Replace all cards, and the files that were kept with them, and power on the boards that were on.

    Boards lose their power at once: what they would write back is given up anyway.

    Raises:
        LabError: there is no such snapshot, this instance does not fit it, or the lab is down.
    """
    found = read(settings, name)
    if problems := differences(found, settings):
        listed = "".join(f"\n  - {each}" for each in problems)
        raise LabError(f"the snapshot {name} cannot be restored here:{listed}")
    owner.require_up(settings)
    folder = settings.snapshots / name
    with owner.locked(settings, "instance"):
        _sweep(settings)
        # All is copied before a board loses its power or anything is replaced: a full disk or a kill changes nothing.
        prepared = [(folder / "cards", settings.cards)]
        prepared += [(folder / "included" / path, ROOT / path) for path in found.included]
        for source, target in prepared:
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy([source], _beside(target))
        for board in settings.boards:
            boards.power_off(settings, board, hard=True)
        with _all_off(settings):
            for _, target in prepared:
                _replace(_beside(target), target)
        for board in settings.boards:
            if network.is_cut(settings, board):
                network.heal(settings, board)
        for board in settings.boards:
            if board.name in found.on:
                boards.power_on(settings, board)
    say(f"snapshot {name} is restored" + (f"; {', '.join(found.on)} boot" if found.on else ""))


def delete(settings: Settings, name: str) -> None:
    """Delete a snapshot.

    Raises:
        LabError: there is none of that name.
    """
    if name not in names(settings):
        read(settings, name)
    # Renamed first: half a snapshot must not look like one.
    trash = settings.snapshots / f".{name}-{os.getpid()}"
    (settings.snapshots / name).rename(trash)
    shutil.rmtree(trash)


def table(settings: Settings) -> str:
    """The instance's snapshots with size, age, and boards that were on."""
    lines = []
    for name in names(settings):
        try:
            found = read(settings, name)
        except LabError as error:
            lines.append(str(error))
            continue
        hours = (time.time() - found.made) / 3600
        age = f"{hours / 24:.0f} days" if hours >= 48 else f"{hours:.0f} h" if hours >= 2 else f"{hours * 60:.0f} min"
        size = _allocated(settings.snapshots / name) / 2**30
        lines.append(f"{name:32} {size:5.1f} GiB  {age:>8}  on: {', '.join(found.on) or 'none'}")
    return "\n".join(lines) or f"the instance `{settings.name}` has no snapshots"


def _in_checkout(path: Path) -> str:
    full = path.resolve() if path.is_absolute() else (ROOT / path).resolve()
    if not full.is_relative_to(ROOT) or full == ROOT or not full.exists():
        raise LabError(f"--include {path}: is not a file or folder in {ROOT}")
    return str(full.relative_to(ROOT))


def _all_off(settings: Settings) -> ExitStack:
    """Keeps every board off while it is held.

    Raises:
        LabError: another command has powered one on just now.
    """
    with ExitStack() as stack:
        for board in settings.boards:
            stack.enter_context(owner.locked(settings, board.name))
            if boards.is_on(settings, board):
                raise LabError(f"{board.name} was powered on meanwhile; nothing was copied")
        return stack.pop_all()


def _copy(sources: list[Path], target: Path) -> None:
    """Copy files with modes and holes: one to `target`, or several into the folder `target`."""
    free, wanted = shutil.disk_usage(target.parent).free, sum(_allocated(path) for path in sources)
    if free < wanted + 2**30:
        raise LabError(
            f"{target.parent} has {free / 2**30:.1f} GiB free, the copy needs {wanted / 2**30:.1f} GiB and 1 to spare: "
            "`python -m lab snapshot list` shows what can be deleted"
        )
    run("cp", "--archive", "--reflink=auto", "--sparse=auto", *sources, target)


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.new")


def _replace(new: Path, target: Path) -> None:
    """Put a file or folder into its place at once; what was there is deleted."""
    if target.exists():
        _exchange(new, target)
        shutil.rmtree(new) if new.is_dir() else new.unlink()
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        new.rename(target)


def _exchange(one: Path, other: Path) -> None:
    """Exchange two paths in one step: rename() cannot put a folder where another one is."""
    at_cwd, rename_exchange = -100, 2
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), rename_exchange):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))


def _allocated(path: Path) -> int:
    """Bytes that a file, or all in a folder, takes on the disk."""
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    return sum(each.lstat().st_blocks * 512 for each in files)


def _sweep(settings: Settings) -> None:
    """Delete what killed commands left; no other command is at work while the instance's lock is held."""
    leftovers = [*settings.snapshots.glob(".*"), _beside(settings.cards)]
    for name in names(settings):
        with suppress(LabError):
            leftovers += [_beside(ROOT / path) for path in read(settings, name).included]
    for path in leftovers:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
