"""Add a fetched run to the results on the control node, and let the link `latest` point to it.

    python -m ansible_collections.edge_ai.cluster.plugins.module_utils.results RESULTS RUN SHA256 SCHEMA < archive

Notebooks wrote the archive, so a separate process unpacks it, with limits on time and memory that its parsers cannot
exceed. RESULTS/RUN appears as a whole, after its timings are validated. Exit status 1 with a message, safe to print,
when the archive is invalid, 2 when this disk cannot take it; nothing is changed then.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from ansible_collections.edge_ai.cluster.plugins.module_utils import archives, shared_data
from ansible_collections.edge_ai.cluster.plugins.module_utils.files import sync
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import OutOfTime, Refused, printable

TIMINGS = "timings.json"
#: CPU seconds, and bytes of memory, that unpacking and validation may take.
SECONDS, MEMORY = 10, 224 << 20
#: Errors that are of the control node's disk, whatever the archive is; and the exit status for them.
OF_THE_DISK, NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO), 2
#: Limits of the unpacked archive: 20 boards with two executed notebooks each are a tenth of it.
LIMITS = archives.Limits(size=128 << 20, members=2000, depth=4, seconds=SECONDS)
#: Prefix of each page: whatever a notebook wrote into it, a browser runs none of its scripts, loads nothing and sends
#: no form. It also says what the bytes after it mean: in another encoding they may be a word that is not seen in them.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
SEAL = (f'<!DOCTYPE html><meta http-equiv="Content-Security-Policy" content="{POLICY}"><meta charset="utf-8">').encode()
#: What no policy prevents: a page that has the browser go to another one by itself (http-equiv="refresh").
ORDERS = re.compile(rb"http-equiv", re.IGNORECASE)
#: Other types that a browser runs as a page, but that cannot have such a prefix.
PAGES_UNSEALED = (".mht", ".mhtml", ".shtml", ".svg", ".xht", ".xhtml", ".xml")
#: Types that a browser knows, and takes for no page. A file of another type it opens as what its first bytes look like.
NO_PAGES = (".csv", ".json", ".txt")


def verify(source: Any, digest: str) -> None:
    """Raise Refused when the archive has another SHA-256; afterwards its position is its beginning again."""
    found = hashlib.file_digest(source, "sha256").hexdigest()
    if found != digest:
        raise Refused(f"SHA-256 is {found}, but complete.json of the run has {digest}")
    source.seek(0)


def validate_timings(folder: Path, schema: Path) -> None:
    """Raise Refused when timings.json of an unpacked run does not match its schema."""
    # Imported here only: a board does not have this package.
    import jsonschema

    try:
        timings = shared_data.read_json(folder, TIMINGS)
    except FileNotFoundError:
        raise Refused(f"contains no {TIMINGS}") from None
    try:
        jsonschema.validate(timings, json.loads(schema.read_text()))
    except jsonschema.ValidationError as error:
        raise Refused(
            f"{TIMINGS} does not match {schema.name}: {error.json_path}: {printable(error.message, 200)}"
        ) from None


def looks_like_page(path: Path) -> bool:
    """Whether a file begins as pages do; browsers look at 1 KiB at most."""
    with path.open("rb") as file:
        return file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n\f").startswith(b"<")


def seal(path: Path) -> None:
    """Prevent a page from running scripts in the browser that shows it, and from leading it elsewhere by itself."""
    content = SEAL + ORDERS.sub(b"data-http-equiv", path.read_bytes())
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def unpack(source: IO[bytes], digest: str, schema: Path, target: Path) -> None:
    """Unpack a run's archive to `target`, which must not exist. Raises Refused, OSError."""
    verify(source, digest)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        folder = Path(scratch) / target.name
        folder.mkdir()
        for name in archives.unpack(source, folder, LIMITS):
            if not all(shared_data.FILE_NAME.fullmatch(part) for part in name.split("/")):
                raise Refused(f"contains {printable(repr(name))}, which is not a valid name of a result")
            kind = Path(name).suffix.lower()
            if kind in PAGES_UNSEALED or (kind not in (*NO_PAGES, ".html", ".htm") and looks_like_page(folder / name)):
                raise Refused(f"contains {printable(repr(name))}, which a browser could run: write it as .html or .png")
            if kind in (".html", ".htm"):
                seal(folder / name)
        validate_timings(folder, schema)
        folder.rename(target)
    # The run may be deleted from the export now: after a power cut it is complete here, or not there at all.
    sync(target.parent)


def link(results: Path, run: str) -> bool:
    """Let results/latest point to the run, atomically; whether that was a change."""
    latest = results / "latest"
    if latest.is_symlink() and str(latest.readlink()) == run:
        return False
    fresh = results / f".latest-{os.getpid()}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(run)
    fresh.replace(latest)
    return True


def target_of(results: Path, run: Any) -> Path:
    """The directory of a run's results. Raises Refused for an invalid name."""
    return results / shared_data.run_name(run)


def is_collected(results: Path, run: Any) -> bool:
    """Whether the complete results of a run exist. Raises Refused for an invalid name."""
    return (target_of(results, run) / TIMINGS).is_file()


def remove_incomplete(target: Path) -> None:
    """Remove a directory of a run without timings: an incomplete one. A link is removed, not followed."""
    if target.is_symlink() or target.is_file():
        target.unlink()
    elif target.is_dir():
        shutil.rmtree(target)


def main(arguments: list[str]) -> int:
    """Run the command line, with the archive on standard input."""
    results, run, digest, schema = Path(arguments[0]), arguments[1], arguments[2], Path(arguments[3])
    try:
        target = target_of(results, run)
        shared_data.text(digest, shared_data.DIGEST, "archive_sha256")
        shared_data.limit_process(SECONDS, MEMORY, f"the archive of {target.name} is unpacked")
        remove_incomplete(target)
        unpack(sys.stdin.buffer, digest, schema, target)
    except (Refused, OutOfTime, OSError, MemoryError) as error:
        print(error or "it exceeds the memory limit", file=sys.stderr)
        return NO_ROOM if isinstance(error, OSError) and error.errno in OF_THE_DISK else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
