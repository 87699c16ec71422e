"""Kernels that are open in this container, as JSON: how many, how many of them compute, and their memory in MB.

Runs in pods of Jupyter, with their Python alone.
"""

import json
import os
import time
from pathlib import Path

SAMPLE_S = 0.5


def kernels() -> list[Path]:
    """Folders in /proc of processes that are kernels."""
    return [each for each in Path("/proc").glob("[0-9]*") if "ipykernel_launcher" in text(each / "cmdline").split("\0")]


def text(path: Path) -> str:
    """What a file of /proc has; nothing when its process has ended."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def state(process: Path) -> tuple[bool, int]:
    """Whether a process could use a processor at this moment, and the time that it has used one."""
    # Its name, in parentheses, may have blanks.
    fields = text(process / "stat").rpartition(")")[2].split()
    return (fields[0] == "R", int(fields[11]) + int(fields[12])) if fields else (False, 0)


def resident_bytes(process: Path) -> int:
    """Memory that a process has."""
    fields = text(process / "statm").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if fields else 0


found = [each for each in kernels() if each.name != str(os.getpid())]
before = [state(each)[1] for each in found]
if found:
    time.sleep(SAMPLE_S)
# On a board that others keep busy, one that computes gets little; one whose threads compute may itself wait.
enough = os.sysconf("SC_CLK_TCK") * SAMPLE_S / 5
after = [state(each) for each in found]
computing = [ready or used - earlier > enough for (ready, used), earlier in zip(after, before, strict=True)]
print(
    json.dumps(
        {
            "kernels": len(found),
            "computing": sum(computing),
            "megabytes": sum(map(resident_bytes, found)) // 1_000_000,
        }
    )
)
