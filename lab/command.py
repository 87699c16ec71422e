"""Running other programs."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.errors import LabError
from lab.progress import say


def run(
    *argv: str | Path,
    input: str | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    show: bool = False,
) -> str:
    """Run a command to its end and return its standard output.

    Args:
        argv: the command.
        input: text for its standard input.
        cwd: directory to run it in.
        env: its whole environment; the lab's own if None.
        log: file that gets everything it prints (then nothing is returned).
        show: with `log`, show its lines as progress too.

    Raises:
        LabError: it failed or is not installed; with the end of what it printed.
    """
    command = [str(word) for word in argv]
    try:
        if log:
            return _run_logged(command, cwd, env, log, show)
        result = subprocess.run(command, input=input, cwd=cwd, env=env, text=True, capture_output=True)
    except FileNotFoundError as error:
        raise LabError(f"{command[0]} is not installed") from error
    if result.returncode:
        said = result.stderr + result.stdout
        raise LabError(f"{_shown(command)}: exit status {result.returncode}\n{_tail(said)}")
    return result.stdout


def _run_logged(command: list[str], cwd: Path | None, env: Mapping[str, str] | None, log: Path, show: bool) -> str:
    with (
        log.open("a", errors="replace") as handle,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=env,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout
        for line in process.stdout:
            handle.write(line)
            handle.flush()
            if show:
                say(f"  {line.rstrip()}")
    if process.returncode:
        said = log.read_text(errors="replace")
        raise LabError(f"{_shown(command)}: exit status {process.returncode} (its output is in {log})\n{_tail(said)}")
    return ""


def succeeds(*argv: str | Path) -> bool:
    """Whether a command exits with 0; what it prints is dropped."""
    return subprocess.run([str(word) for word in argv], capture_output=True).returncode == 0


def _shown(command: Sequence[str]) -> str:
    text = " ".join(command)
    return text if len(text) < 200 else text[:200] + " ..."


def _tail(text: str, lines: int = 15) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-lines:])
