"""Make a fetched run part of the results on the control node, and the link `latest` point to it.

    python collect_run.py --results=DIR --run=NAME --sha256=HEX --schema=FILE

Unpacks DIR/.NAME.tar.gz to DIR/NAME, which appears as a whole after its timings kept the schema. A run that is there is
left alone. Prints "changed" or "present"; exit status 1 with a message when the archive is not what it should be.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jsonschema


class Unusable(Exception):
    """The archive cannot be used; the message says why."""


def unpack(archive: Path, digest: str, schema: Path, target: Path) -> None:
    """Unpack a verified archive to `target`, which must not exist. Raises Unusable."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != digest:
        raise Unusable(f"{archive}: SHA-256 is {found}, but complete.json of the run says {digest}")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        folder = Path(scratch) / target.name
        folder.mkdir()
        # tar itself keeps names inside the folder. Python's tarfile learned that in 3.11.4; Debian 12 has 3.11.2.
        command = ["tar", "-xzf", str(archive), "-C", str(folder), "--no-same-owner", "--no-same-permissions"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise Unusable(f"{archive}: {done.stderr.strip()}")
        try:
            jsonschema.validate(json.loads((folder / "timings.json").read_text()), json.loads(schema.read_text()))
        except (OSError, ValueError) as error:
            raise Unusable(f"{archive}: timings.json cannot be read: {error}") from error
        except jsonschema.ValidationError as error:
            raise Unusable(f"{archive}: timings.json breaks {schema}: {error.json_path}: {error.message}") from error
        folder.rename(target)


def link(results: Path, run: str) -> bool:
    """Let results/latest point to the run, at one stroke; whether that was new."""
    latest = results / "latest"
    if latest.is_symlink() and str(latest.readlink()) == run:
        return False
    fresh = results / f".latest-{os.getpid()}"
    fresh.symlink_to(run)
    fresh.replace(latest)
    return True


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="Make a fetched run part of the results.")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--sha256", required=True)
    parser.add_argument("--schema", type=Path, required=True)
    options = parser.parse_args()
    target = options.results / options.run
    archive = options.results / f".{options.run}.tar.gz"
    changed = False
    if not (target / "timings.json").exists():
        # A folder without timings.json is no result of a run: nothing here makes one.
        shutil.rmtree(target, ignore_errors=True)
        try:
            unpack(archive, options.sha256, options.schema, target)
        except (Unusable, OSError) as error:
            archive.unlink(missing_ok=True)
            print(f"{error}\nThe archive was deleted; the next run fetches it again.", file=sys.stderr)
            return 1
        changed = True
    archive.unlink(missing_ok=True)
    changed = link(options.results, options.run) or changed
    print("changed" if changed else "present")
    return 0


if __name__ == "__main__":
    sys.exit(main())
