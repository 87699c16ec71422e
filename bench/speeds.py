"""Print the speeds that the project holds itself to, measured on the cluster of the inventory; nothing asserts them.

    python bench/speeds.py [--inventory inventory/lab] [--power pi-03]

Measured: the second run of site.yml (ansible-runner), the server unit's start to API ready (systemd's own timestamps of
its last start), the notebooks' ratios (results/latest, one run, same board) and, with ``--power BOARD``, a virtual
board's power-on to ssh. ``--power`` takes that board down for half a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import ansible_runner

ROOT = Path(__file__).resolve().parents[1]


def second_run(inventory: str) -> tuple[float, int]:
    """Seconds that site.yml took on a finished cluster, and how many tasks changed something."""
    started = time.monotonic()
    result = ansible_runner.interface.run(
        project_dir=str(ROOT), private_data_dir=str(ROOT / ".ansible" / "runner"), inventory=str(ROOT / inventory),
        playbook="site.yml", quiet=True, envvars={"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
    )  # fmt: skip
    if result.rc != 0:
        sys.exit(f"site.yml failed (rc {result.rc}); see {result.config.artifact_dir}/stdout")
    return time.monotonic() - started, sum(result.stats["changed"].values())


def host_variables(inventory: str, host: str) -> dict[str, str]:
    """A host's variables as Ansible resolves them."""
    printed = subprocess.run(
        ["ansible", host, "-i", inventory, "-m", "ansible.builtin.debug", "-a",
         "msg={{ {'address': ansible_host, 'key': ansible_ssh_private_key_file, 'args': ansible_ssh_common_args} }}"],
        cwd=ROOT, check=True, capture_output=True, text=True,
        env={**os.environ, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_CALLBACKS_ENABLED": ""},
    ).stdout  # fmt: skip
    found: dict[str, str] = json.loads(printed[printed.index("{") :])["msg"]
    return found


def unit_start(inventory: str, server: str) -> float:
    """Seconds from the start of the server's unit to READY=1, which it sends when the API is ready."""
    host = host_variables(inventory, server)
    printed = subprocess.run(
        ["ssh", "-i", host["key"], *host["args"].split(), f"pi@{host['address']}",
         "systemctl show k3s -p ExecMainStartTimestampMonotonic -p ActiveEnterTimestampMonotonic"],
        check=True, capture_output=True, text=True, timeout=30,
    ).stdout  # fmt: skip
    stamps = dict(line.split("=", 1) for line in printed.splitlines())
    return (int(stamps["ActiveEnterTimestampMonotonic"]) - int(stamps["ExecMainStartTimestampMonotonic"])) / 1e6


def power_on(inventory: str, board: str) -> float:
    """Seconds from power-on of a virtual board to the ssh server's greeting; raises TimeoutError after 120 s."""
    address = host_variables(inventory, board)["address"]
    lab = [sys.executable, "-m", "lab", "power"]
    subprocess.run([*lab, "off", board], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    started = time.monotonic()
    subprocess.run([*lab, "on", board], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
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


def show(what: str, seconds: float, goal: float) -> None:
    """Print one figure beside its goal, both in seconds."""
    print(f"{what:<48} {seconds:8.1f} s   (goal {goal:g})")


def notebooks(results: Path) -> None:
    """Print the notebooks' totals in seconds and the ratios of one run."""
    records = json.loads((results / "latest" / "timings.json").read_text())
    total = {(record["notebook"], record["profile"]): float(record["total"]) for record in records}
    for (notebook, profile), seconds in sorted(total.items()):
        print(f"{notebook} {profile:<38} {seconds:8.1f} s")
    ratio = total["training", "fast"] / total["training", "thesis"]
    print(f"{'training fast / thesis':<48} {ratio:8.2f}     (goal 0.33)")
    for profile in ("fast", "thesis"):
        ratio = total["prediction", profile] / total["training", "thesis"]
        print(f"{'prediction ' + profile + ' / training thesis':<48} {ratio:8.2f}     (goal 0.20)")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inventory", default="inventory/lab")
    parser.add_argument("--server", default="pi-01")
    parser.add_argument("--power", metavar="BOARD", help="also measure this virtual board's power-on to ssh")
    options = parser.parse_args()
    seconds, changed = second_run(options.inventory)
    show(f"second run of site.yml, changed={changed}", seconds, 60)
    show("server unit start to API ready", unit_start(options.inventory, options.server), 20)
    notebooks(ROOT / "results")
    if options.power:
        show(f"power-on of {options.power} to ssh", power_on(options.inventory, options.power), 20)


if __name__ == "__main__":
    main()
