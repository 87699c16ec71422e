"""Measure the speeds that this project holds itself to, on the cluster of an inventory; nothing asserts them.

    python -m bench.speeds                                       # a finished cluster, real boards too: changes nothing
    python -m bench.speeds --blank --join pi-05 --power pi-03    # the lab: DELETES ALL CARDS, begins with blank ones
    python -m bench.speeds --runs 3 --json results/speeds.json   # spread over three runs; the figures for programs too

Measured: site.yml and its stages from blank cards (--blank), again and with --check; add-node.yml with a blank card
(--join); the start of the server's unit until the API is ready, as systemd has it of the last start; power-on of a
virtual board to ssh (--power); the notebooks' seconds and ratios of the last run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from tools.playbook import ROOT, Run, run


@dataclass
class Figure:
    """What was measured, in seconds or as a ratio; its goal, and a value for each run."""

    name: str
    unit: str = "s"
    goal: float | None = None
    values: list[float] = field(default_factory=list)

    def spread(self) -> str:
        """Smallest and largest value, where there are several."""
        return f"{min(self.values):.4g} to {max(self.values):.4g}" if len(self.values) > 1 else ""


class Figures:
    """All figures, in the order of their first value."""

    def __init__(self) -> None:
        self.by_name: dict[str, Figure] = {}

    def add(self, name: str, value: float, goal: float | None = None, unit: str = "s") -> None:
        """One more value of a figure."""
        self.by_name.setdefault(name, Figure(name, unit, goal)).values.append(round(value, 3))

    def table(self) -> Table:
        """For people."""
        numbers = [Column(heading, justify="right") for heading in ("median", "", "of runs", "goal")]
        table = Table("figure", *numbers, box=None, pad_edge=False)
        for each in self.by_name.values():
            goal = "" if each.goal is None else f"{each.goal:g}"
            table.add_row(each.name, f"{statistics.median(each.values):.4g}", each.unit, each.spread(), goal)
        return table


def machine() -> dict[str, Any]:
    """What the figures depend on beside the cluster."""
    memory = next(
        line.split() for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal")
    )
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    return {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit.strip(),
        "processors": os.cpu_count(), "memory_gb": round(int(memory[1]) / 1e6, 1), "load": os.getloadavg()[0],
        "kernel": platform.release(), "architecture": platform.machine(), "python": platform.python_version(),
        "ansible_core": version("ansible-core"),
    }  # fmt: skip


def play(inventory: str, playbook: str, options: str = "") -> Run:
    """Run a playbook as a user would; exits when it fails."""
    done = run(inventory, playbook, options)
    if done.rc != 0:
        sys.exit(f"{playbook} {options} failed (rc {done.rc}); see {done.log}")
    return done


def host_variables(inventory: str, host: str) -> dict[str, str]:
    """A host's variables as Ansible resolves them."""
    printed = subprocess.run(
        ["ansible", host, "-i", inventory, "-m", "ansible.builtin.debug", "-a",
         "msg={{ {'address': ansible_host, 'user': ansible_user, 'key': ansible_ssh_private_key_file, "
         "'args': ansible_ssh_common_args | default(''), 'card': flash_card | default('')} }}"],
        cwd=ROOT, check=True, capture_output=True, text=True,
        env={**os.environ, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
    ).stdout  # fmt: skip
    found: dict[str, str] = json.loads(printed[printed.index("{") :])["msg"]
    return found


def unit_start(inventory: str, server: str) -> float:
    """Seconds from the start of the server's unit to READY=1, which it sends when the API is ready."""
    host = host_variables(inventory, server)
    printed = subprocess.run(
        ["ssh", "-i", host["key"], *host["args"].split(), f"{host['user']}@{host['address']}",
         "systemctl show k3s -p ExecMainStartTimestampMonotonic -p ActiveEnterTimestampMonotonic"],
        check=True, capture_output=True, text=True, timeout=30,
    ).stdout  # fmt: skip
    stamps = dict(line.split("=", 1) for line in printed.splitlines())
    return (int(stamps["ActiveEnterTimestampMonotonic"]) - int(stamps["ExecMainStartTimestampMonotonic"])) / 1e6


def lab(*command: str) -> None:
    """A command of the lab."""
    subprocess.run([sys.executable, "-m", "lab", *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def power_on(inventory: str, board: str) -> float:
    """Seconds from power-on of a virtual board to the ssh server's greeting; raises TimeoutError after 120 s."""
    address = host_variables(inventory, board)["address"]
    lab("power", "off", board)
    started = time.monotonic()
    lab("power", "on", board)
    while time.monotonic() - started < 120:
        try:
            with socket.create_connection((address, 22), timeout=1) as connection:
                connection.settimeout(5)
                if connection.recv(4) == b"SSH-":
                    return time.monotonic() - started
        except OSError:
            pass
        time.sleep(0.1)
    raise TimeoutError(f"{board} ({address}) had no ssh 120 s after power-on; see `python -m lab console {board}`")


def measure_blank(inventory: str, figures: Figures) -> None:
    """The lab's cards are deleted, and site.yml is run on blank ones."""
    lab("down", "--cards")
    lab("up")
    site = play(inventory, "site.yml")
    figures.add("site.yml from blank cards", site.seconds, 300)
    for name, seconds in site.plays.items():
        figures.add(f"  {name}", seconds)
    ready = ("Prepare the base system", "Export shared storage", "Install k3s", "Label the nodes")
    figures.add("base system to Ready nodes", sum(site.plays.get(name, 0) for name in ready), 50)


def measure_join(inventory: str, board: str, figures: Figures) -> None:
    """A board of the lab with a blank card joins and predicts."""
    lab("power", "off", "--hard", board)
    Path(host_variables(inventory, board)["card"]).unlink(missing_ok=True)
    figures.add(f"add-node.yml -l {board}, blank card", play(inventory, "add-node.yml", f"-l {board}").seconds, 75)


def notebooks(results: Path, figures: Figures) -> None:
    """The notebooks' seconds, and their ratios to the thesis's training on the same boards."""
    goals = {("training", "fast"): 0.25, ("prediction", "lite"): 0.05}
    records = json.loads((results / "latest" / "timings.json").read_text())
    total = {(record["notebook"], record["profile"]): float(record["total"]) for record in records}
    for (notebook, profile), seconds in sorted(total.items()):
        figures.add(f"{notebook} {profile}", seconds)
    reference = total.get(("training", "thesis"))
    for (notebook, profile), seconds in sorted(total.items() if reference else []):
        if (notebook, profile) != ("training", "thesis"):
            goal = goals.get((notebook, profile), 0.2)
            figures.add(f"{notebook} {profile} / training thesis", seconds / float(reference or 1), goal, "ratio")


def report(figures: Figures, facts: dict[str, Any], file: Path | None) -> None:
    """Print the figures and the machine; also as JSON to `file`, where there is one."""
    console = Console()
    console.print(", ".join(f"{name} {value}" for name, value in facts.items()), style="dim")
    console.print(figures.table())
    if file:
        found = {"machine": facts, "figures": [asdict(each) for each in figures.by_name.values()]}
        file.write_text(json.dumps(found, indent=1) + "\n")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inventory", default="inventory/lab")
    parser.add_argument("--server", default="pi-01")
    parser.add_argument("--runs", type=int, default=1, metavar="N", help="how often each is measured")
    parser.add_argument("--blank", action="store_true", help="delete all cards of the lab, and begin with blank ones")
    parser.add_argument(
        "--join", metavar="BOARD", help="also measure add-node.yml for this spare board of the lab, with a blank card"
    )
    parser.add_argument("--power", metavar="BOARD", help="also measure this virtual board's power-on to ssh")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures and the machine there")
    options = parser.parse_args()
    figures, facts = Figures(), machine()
    for _ in range(options.runs):
        if options.blank:
            measure_blank(options.inventory, figures)
        again = play(options.inventory, "site.yml")
        figures.add(f"site.yml again, changed={sum(again.changed.values())}", again.seconds, 20)
        figures.add("site.yml --check", play(options.inventory, "site.yml", "--check").seconds, 20)
        figures.add("server's unit started to API ready", unit_start(options.inventory, options.server), 20)
        if options.join:
            measure_join(options.inventory, options.join, figures)
        if options.power:
            figures.add(f"power-on of {options.power} to ssh", power_on(options.inventory, options.power), 20)
        if options.blank or not any(name.startswith("training") for name in figures.by_name):
            notebooks(ROOT / "results", figures)
    report(figures, facts, options.json)


if __name__ == "__main__":
    main()
