"""What a user sees of a playbook: real runs on a terminal of 80 columns, with the ansible.cfg of this project."""

from __future__ import annotations

import json
import re
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils import screen

from tests.support import ansible_playbook
from tests.support.paths import COLLECTIONS, ROOT
from tests.support.terminal import Terminal

BOARDS = ("pi-01", "pi-02", "pi-03")
#: Clears the screen, writes a line that looks like Ansible's, and turns the direction of writing.
HOSTILE = r"\e[2J\e[1;1H\rok: [pi-01]\u202e"
TIME = r"\d+ s( \(last \d+ s\))?"


class Project:
    """A folder with the ansible.cfg of this project, and one playbook."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        shutil.copy(ROOT / "ansible.cfg", folder)
        (folder / "collections").symlink_to(COLLECTIONS)
        hosts = "".join(f"    {name}: {{ansible_connection: local}}\n" for name in (*BOARDS, "localhost"))
        (folder / "hosts.yml").write_text(
            f"all:\n  vars: {{ansible_python_interpreter: {sys.executable}}}\n  hosts:\n{hosts}"
            "    pi-09: {ansible_host: 127.0.0.1, ansible_port: 1}\n"
        )
        self.env = ansible_playbook.environment(TERM="xterm-256color", ANSIBLE_CONFIG=str(folder / "ansible.cfg"))
        for name in ("ANSIBLE_STDOUT_CALLBACK", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
            self.env.pop(name, None)

    def write(self, playbook: str) -> None:
        (self.folder / "play.yml").write_text(textwrap.dedent(playbook))

    def arguments(self, *options: str) -> list[str]:
        return ["-i", str(self.folder / "hosts.yml"), str(self.folder / "play.yml"), *options]

    def terminal(self, *options: str, cwd: Path | None = None, stderr: int | None = None, **env: str) -> Terminal:
        return Terminal(self.arguments(*options), cwd or self.folder, self.env | env, stderr=stderr)

    def without_terminal(self, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
        return ansible_playbook.run(self.arguments(*options), self.folder, self.env | env)

    @property
    def logs(self) -> list[Path]:
        return sorted((self.folder / "results" / "logs").glob("*"))

    @property
    def log(self) -> str:
        (path,) = self.logs
        return path.read_text()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stages") / "project"


@pytest.fixture
def project(place: Path) -> Project:
    """A new one in the same place for each test: with another ansible.cfg, Ansible would be imported again."""
    if place.exists():
        shutil.rmtree(place)
    return Project(place)


GOOD = """\
    - name: Validate inventory
      hosts: localhost
      gather_facts: false
      tasks:
        - name: Validate it
          ansible.builtin.command: "true"
          changed_when: false
    - name: Install k3s
      hosts: pi-01,pi-02,pi-03
      gather_facts: false
      tasks:
        - name: Start the service
          ansible.builtin.command: sleep {{ 0 if inventory_hostname == 'pi-01' else slow | default(0) }}
          changed_when: inventory_hostname != 'pi-03'
        - name: Show the state
          ansible.builtin.debug:
            msg: ["image in the cache", "{{ inventory_hostname }}: card {{ inventory_hostname[-1] }} written"]
    - name: Run the notebooks
      hosts: localhost
      gather_facts: false
      tasks:
        - name: Show the timings
          ansible.builtin.debug:
            msg: |-
              notebook    pi-01
              training   12.0 s
"""


def lines(terminal: Terminal) -> list[str]:
    """The screen's lines without times, whose number of blanks depends on them."""
    return [re.sub(rf" +{TIME}$", "", line) for line in terminal.screen.splitlines()]


def order(shown: list[str]) -> list[str]:
    """Boards in the order in which they answered."""
    return [found[1] for line in shown if (found := re.match(r"  pi-0(.): card", line))]


def test_a_run_is_a_line_for_each_stage(project: Project) -> None:
    project.write(GOOD)
    terminal = project.terminal("-e", "slow=3")
    terminal.until("Start the service (pi-02, pi-03)")
    running = terminal.screen.splitlines()
    assert re.fullmatch(rf". Install k3s: pi-01, pi-02, pi-03 +{TIME}", running[-2])
    assert re.fullmatch(rf"    Start the service \(pi-02, pi-03\) +{TIME}", running[-1])
    assert terminal.wait() == 0
    shown = lines(terminal)
    assert re.fullmatch(r"Log: results/logs/play-\d{8}T\d{6}Z\.log \(-v shows all of it here\)", shown[0])
    assert shown[1:-1] == [
        "✓ Validate inventory: localhost (no change)",
        "  pi-01, pi-02, pi-03: image in the cache",
        *(f"  pi-0{number}: card {number} written" for number in order(shown)),
        "✓ Install k3s: 3 hosts, changed: pi-01, pi-02",
        "  notebook    pi-01",
        "  training   12.0 s",
        "✓ Run the notebooks: localhost (no change)",
    ]
    assert re.fullmatch(r"Done in \d+ s; changed: pi-01 \(1\), pi-02 \(1\)", shown[-1])
    assert not terminal.unknown
    assert max(map(len, terminal.screen.splitlines())) <= 80

    assert stat.S_IMODE(project.logs[0].stat().st_mode) == 0o600
    for part in ("PLAY [Install k3s]", "TASK [Start the service]", "changed: [pi-02]", "PLAY RECAP", "STAGES"):
        assert part in project.log
    assert project.log.count("pi-01                      : ok=") == 1
    assert "\x1b" not in project.log


def test_the_last_duration_is_shown_and_a_check_is_no_measure(project: Project) -> None:
    project.write(GOOD)
    durations = project.folder / ".ansible" / "durations.json"
    durations.parent.mkdir()
    durations.write_text('{"play.yml|stage|Install k3s": 70.0, "play.yml|task|Start the service": 60.0}')
    before = durations.read_text()
    terminal = project.terminal("--check")
    assert terminal.wait() == 0
    assert re.search(r"✓ Install k3s: pi-01, pi-02, pi-03 \(no change\) +\d+ s \(last 70 s\)\n", terminal.screen)
    assert json.loads(durations.read_text()) == json.loads(before)
    terminal = project.terminal("-e", "slow=3")
    terminal.until("Start the service (pi-02, pi-03)")
    assert re.search(r"\d s \(last 60 s\)$", terminal.screen)
    assert terminal.wait() == 0
    assert json.loads(durations.read_text())["play.yml|stage|Install k3s"] < 60


FAILING = f"""\
    - name: Flash boards
      hosts: pi-01,pi-02
      gather_facts: false
      tasks:
        - name: Validate the card
          ansible.builtin.fail:
            msg: "flash_card: is no block device{HOSTILE}\\nSet flash_card in hosts.yml"
          when: inventory_hostname == 'pi-02'
    - name: Not reached
      hosts: pi-01
      gather_facts: false
      tasks: []
"""


def test_a_failure_is_shown_in_full(project: Project) -> None:
    project.write(FAILING)
    terminal = project.terminal()
    assert terminal.wait() == 2
    assert lines(terminal)[1:-2] == [
        "pi-02: failed: Validate the card",
        "  flash_card: is no block device\\x1b[2J\\x1b[1;1H\\rok: [pi-01]\\u202e",
        "  Set flash_card in hosts.yml",
        "  Task: play.yml:5",
        "✗ Flash boards: 2 hosts, failed: pi-02",
    ]
    assert re.match(
        r"Failed after \d+ s on pi-02; changed: nothing\nLog: results/logs/play-", "\n".join(lines(terminal)[-2:])
    )
    assert "\x1b[2J" not in terminal.raw and not terminal.unknown
    assert "\x1b" not in project.log and "\u202e" not in project.log
    assert "fatal: [pi-02]: FAILED!" in project.log


def test_a_command_that_failed_shows_its_output(project: Project) -> None:
    project.write("""\
        - name: Stage
          hosts: pi-01
          gather_facts: false
          tasks:
            - name: Run it
              ansible.builtin.command: sh -c 'printf %03000d 0 | tr 0 9; echo wrong >&2; exit 3'
        """)
    terminal = project.terminal()
    assert terminal.wait() == 2
    assert "  stderr:\n    wrong\n  stdout:\n" in terminal.screen
    assert "999...\n" in terminal.screen and 1900 < terminal.screen.count("9") < 2200
    # The log has all of it.
    assert "9" * 3000 in project.log


def test_unreachable_hosts_items_retries_and_warnings(project: Project) -> None:
    project.write("""\
        - name: Wait for boards
          hosts: pi-01,pi-09
          gather_facts: false
          any_errors_fatal: false
          tasks:
            - name: Ask it
              ansible.builtin.ping:
              ignore_unreachable: true
            - name: Wait for the node
              ansible.builtin.command: "false"
              register: probe
              until: probe.rc == 0
              retries: 2
              delay: 1
              changed_when: false
              failed_when: false
              when: inventory_hostname == 'pi-01'
            - name: Try two ways
              when: inventory_hostname == 'pi-01'
              block:
                - name: Try the first
                  ansible.builtin.fail:
                    msg: not this way
              rescue:
                - name: Try the second
                  ansible.builtin.debug:
                    msg: that way
            - name: Check every part
              ansible.builtin.fail:
                msg: "no {{ item }}"
              loop: [a, b]
              ignore_errors: true
              when: inventory_hostname == 'pi-01' and item == 'b'
        - name: No host
          hosts: absent
          tasks: []
        - name: Last
          hosts: pi-09
          gather_facts: false
          tasks:
            - name: Ask again
              ansible.builtin.ping:
        """)
    terminal = project.terminal()
    terminal.until("Wait for the node (pi-01, pi-01 attempt 2 of 3)")
    assert terminal.wait() == 4
    for part in (
        "pi-09: unreachable, ignored: Ask it\n  Task failed: ",
        "pi-01: failed, ignored: Check every part (item b)\n  no b\n",
        "[WARNING]: Could not match supplied host pattern, ignoring: absent",
        "pi-01: failed: Try the first\n  not this way\n",
        "✓ Wait for boards: pi-01, pi-09 (no change)",
        "✓ No host: no hosts matched",
        "pi-09: unreachable: Ask again",
        "✗ Last: pi-09 (failed)",
    ):
        assert part in terminal.screen
    assert "One or more items failed" not in terminal.screen
    assert "[WARNING]: Could not match supplied host pattern, ignoring: absent" in project.log


def test_questions_are_asked_and_answered(project: Project) -> None:
    project.write("""\
        - name: Ask
          hosts: localhost
          gather_facts: false
          vars_prompt:
            - {name: who, prompt: Who is it, private: false}
          tasks:
            - name: Greet
              ansible.builtin.debug: {msg: "Hello {{ who }}"}
            - name: Wait for the operator
              ansible.builtin.pause:
                prompt: |-
                  Insert the cards, then press Enter:
                    pi-01
              register: pause
            - name: Show it
              ansible.builtin.debug: {msg: "Typed {{ pause.user_input }}"}
        """)
    terminal = project.terminal()
    terminal.until("Who is it:")
    terminal.type("me\n")
    terminal.until("  pi-01:")
    asked = terminal.screen
    assert asked.endswith("[Wait for the operator]\nInsert the cards, then press Enter:\n  pi-01:")
    # Nothing is drawn over the question.
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        terminal.read(0.1)
    assert terminal.screen == asked
    terminal.type("abc\r")
    assert terminal.wait() == 0
    assert "Hello me" in terminal.screen and "Typed abc" in terminal.screen
    assert "Insert the cards" in project.log


def test_a_new_key_of_backups_is_shown_once_and_written_nowhere(project: Project) -> None:
    project.write("""\
        - name: Back up
          hosts: localhost
          gather_facts: false
          tasks:
            - name: Wait before
              ansible.builtin.command: sleep 1
            - name: Make the key
              edge_ai.cluster.cluster_backup_key:
                secrets: "{{ playbook_dir }}/secrets"
                cluster_name: home
              register: key
            - name: Say it
              ansible.builtin.debug: {msg: "{{ key.msg }}"}
        """)
    secrets = project.folder / "secrets"
    terminal = project.terminal()
    terminal.until("Press Enter when it is stored")
    shown = terminal.screen
    # Nothing is used before the owner has it, nor drawn over it; keys pressed before the question count for nothing.
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        terminal.read(0.1)
    assert terminal.screen == shown
    assert not (secrets / "backup-recipient").exists()
    terminal.type("\r")
    assert terminal.wait() == 0
    (secret,) = re.findall("^AGE-SECRET-KEY-1[0-9A-Z]+$", shown, re.MULTILINE)
    (signer,) = re.findall("^# signer: (.*)$", shown, re.MULTILINE)
    assert "was shown, and is not kept here. Without it no backup can be restored." in " ".join(terminal.screen.split())
    assert signer in (secrets / "backup-signer.pub").read_text()
    assert {path.name for path in secrets.iterdir()} == {"backup-recipient", "backup-signer", "backup-signer.pub"}
    files = [path for path in project.folder.rglob("*") if path.is_file() and "collections" not in path.parts]
    assert project.logs[0] in files
    assert not [path for path in files if secret.encode() in path.read_bytes()]
    # There is one from now on.
    again = project.terminal()
    assert again.wait() == 0
    assert "AGE-SECRET-KEY" not in again.screen


def test_a_new_key_needs_a_terminal_or_a_file(project: Project) -> None:
    project.write("""\
        - name: Back up
          hosts: localhost
          gather_facts: false
          tasks:
            - name: Make the key
              edge_ai.cluster.cluster_backup_key:
                secrets: "{{ playbook_dir }}/secrets"
                identity: "{{ identity | default('') }}"
                cluster_name: home
        """)

    run = project.without_terminal
    done = run()
    assert done.returncode == 2
    assert (
        "there is no terminal to show the new key of backups on: write -e cluster_backup_identity=PATH" in done.stdout
    )
    assert not list((project.folder / "secrets").glob("backup-recipient"))
    beside = run("-e", f"identity={project.folder}/secrets/key")
    assert "with what it protects" in beside.stdout
    key = project.folder / "key"
    key.touch()
    assert f"{key} exists, but backups have no key here yet" in run("-e", f"identity={key}").stdout
    key.unlink()
    assert run("-e", f"identity={key}").returncode == 0
    assert key.stat().st_mode & 0o777 == 0o600
    secret = key.read_text().splitlines()[-1]
    assert secret.startswith("AGE-SECRET-KEY-1")
    assert not [path for path in (project.folder / "secrets").iterdir() if secret in path.read_text()]
    (unchanged,) = re.findall(r"changed=(\d)", run("-e", f"identity={key}").stdout)
    assert unchanged == "0"


def test_secrets_reach_neither_screen_nor_log(project: Project) -> None:
    project.write("""\
        - name: Stage
          hosts: localhost
          gather_facts: false
          vars:
            secret: "{{ 'xyzzy' | upper }}"
          tasks:
            - name: Say it
              ansible.builtin.debug: {msg: "{{ secret }}"}
              no_log: true
            - name: Loop over it
              ansible.builtin.command: "echo {{ item }}"
              loop: ["{{ secret }}"]
              no_log: true
            - name: Fail with it
              ansible.builtin.command: "sh -c 'echo {{ secret }} >&2; exit {{ item }}'"
              loop: [1]
              no_log: true
        """)
    terminal = project.terminal("--diff")
    assert terminal.wait() == 2
    assert (
        "localhost: failed: Fail with it (item (censored due to no_log))\n  the output has been hidden"
        in terminal.screen
    )
    assert "XYZZY" not in terminal.raw + project.log


def test_progress_of_a_plugin_is_shown_while_its_task_runs(project: Project) -> None:
    (project.folder / "action_plugins").mkdir()
    (project.folder / "action_plugins" / "train.py").write_text(
        "import time\n"
        "from ansible.plugins.action import ActionBase\n"
        "class ActionModule(ActionBase):\n"
        "    def run(self, tmp=None, task_vars=None):\n"
        "        self._display.display('  Training on pi-02: running \\x1b[2J (3 s, 40 s last time)')\n"
        "        time.sleep(2)\n"
        "        self._display.warning('the card \\x1b[2J is slow')\n"
        "        return {'changed': False}\n"
    )
    project.write("""\
        - name: Run the notebooks
          hosts: localhost
          gather_facts: false
          tasks:
            - name: Wait for the training
              train:
        """)
    terminal = project.terminal()
    terminal.until("\n    Training on pi-02: running \\x1b[2J (3 s, 40 s last time)")
    assert terminal.wait() == 0
    assert "Training" not in terminal.screen
    assert "[WARNING]: the card \\x1b[2J is slow" in terminal.screen
    assert "\x1b[2J" not in terminal.raw + project.log
    assert "Training on pi-02: running" in project.log and "[WARNING]: the card" in project.log


def test_differences_are_shown_with_diff(project: Project) -> None:
    project.write(f"""\
        - name: Stage
          hosts: pi-01,pi-02
          serial: 1
          gather_facts: false
          tasks:
            - name: Write the file
              ansible.builtin.copy:
                content: "new line {HOSTILE}\\n"
                dest: "{project.folder}/{{{{ inventory_hostname }}}}.txt"
                mode: "0600"
        """)
    terminal = project.terminal("--diff", "--check")
    assert terminal.wait() == 0
    assert "pi-02: Write the file\n" in terminal.screen
    assert "  +new line \\x1b[2J\\x1b[1;1H\\r" in terminal.screen and "\u202e" not in terminal.screen
    # One stage, though it has two batches.
    assert lines(terminal)[-2] == "✓ Stage: pi-01, pi-02 (would change)"
    assert "\x1b[2J" not in terminal.raw
    terminal = project.terminal()
    assert terminal.wait() == 0
    assert "new line" not in terminal.screen


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"ANSIBLE_NOCOLOR": "1"}], ids=str)
def test_without_colours(project: Project, env: dict[str, str]) -> None:
    project.write(FAILING)
    terminal = project.terminal(**env)
    assert terminal.wait() == 2
    assert "✗ Flash boards: 2 hosts, failed: pi-02" in terminal.screen
    assert not re.search(r"\x1b\[[0-9;]*m", terminal.raw)


def test_a_dumb_terminal_gets_line_after_line(project: Project) -> None:
    project.write(GOOD)
    terminal = project.terminal(TERM="dumb")
    terminal.until("\n  Install k3s\n")
    assert terminal.wait() == 0
    assert "✓ Install k3s: 3 hosts, changed: pi-01, pi-02" in terminal.screen
    assert "\x1b" not in terminal.raw


def is_ansibles_own(output: str) -> bool:
    parts = (
        "PLAY [Install k3s] ***",
        "TASK [Start the service] ***",
        "changed: [pi-02]",
        "PLAY RECAP ***",
        "STAGES ***",
    )
    return all(part in output for part in parts) and "✓" not in output


def test_verbose_steps_and_pipes_have_ansibles_own_output(project: Project) -> None:
    project.write(GOOD)
    assert is_ansibles_own(project.without_terminal().stdout)
    terminal = project.terminal("-v")
    assert terminal.wait() == 0
    assert is_ansibles_own(terminal.screen)
    # The stage was slower than five seconds last time.
    durations = project.folder / ".ansible" / "durations.json"
    durations.write_text(
        re.sub(
            r'("play.yml\|[a-z]+\|(Install k3s|Start the service)"): .*?(,?)$',
            r"\1: 70.0\3",
            durations.read_text(),
            flags=re.M,
        )
    )
    output = project.without_terminal().stdout
    assert "  (Install k3s: took 70 s last time)" in output and "  (took 70 s last time)" in output
    assert re.search(r"Install k3s +\d\.\d s   last time   70.0 s", output)
    assert not project.logs


def test_what_a_board_says_moves_no_cursor_in_ansibles_own_output_either(project: Project) -> None:
    project.write(f"""\
        - name: Fail
          hosts: pi-01
          gather_facts: false
          tasks:
            - name: Fail
              ansible.builtin.fail:
                msg: "it failed{HOSTILE}"
        """)
    done = project.without_terminal()
    shown = r"it failed\x1b[2J\x1b[1;1H\rok: [pi-01]\u202e"
    assert f"[ERROR]: Task failed: Action failed: {shown}\n" in done.stdout
    assert not set("\x1b\r\u202e") & set(done.stdout + done.stderr)
    # In colours, as with a terminal and -v.
    done = project.without_terminal("-v", ANSIBLE_FORCE_COLOR="1")
    assert shown in done.stdout and "\x1b[0;31m" in done.stdout
    assert not set("\x1b\r\u202e") & set(re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr))
    assert re.search("pi-01.*failed=.*1", done.stdout)


def test_lines_of_nothing_but_colours_take_no_time() -> None:
    begun = time.process_time()
    for line in ("\x1b[m" * 100_000 + "x", "x" + "\x1b[m" * 100_000, "x" + "\x1b[m" * 100_000 + "x"):
        assert screen.plain(line).startswith(r"x\x1b[m" if line[-1] == "x" == line[0] else "x")
        assert screen.coloured(line).endswith("\x1b[0m")
    assert time.process_time() - begun < 10


def test_without_rich_all_is_shown(project: Project) -> None:
    project.write(GOOD)
    (project.folder / "missing").mkdir()
    (project.folder / "missing" / "rich.py").write_text("raise ImportError('none')\n")
    terminal = project.terminal(PYTHONPATH=str(project.folder / "missing"))
    assert terminal.wait() == 0
    assert is_ansibles_own(terminal.screen)


def test_without_a_log_all_is_shown(project: Project) -> None:
    project.write(GOOD)
    (project.folder / "results").write_text("a file")
    terminal = project.terminal()
    assert terminal.wait() == 0
    assert is_ansibles_own(terminal.screen)
    assert "no log can be written" in terminal.screen.replace("\n", "")


def test_the_newest_logs_of_the_project_are_kept(project: Project) -> None:
    project.write(FAILING)
    folder = project.folder / "results" / "logs"
    folder.mkdir(parents=True)
    for number in range(30):
        (folder / f"{'site' if number % 2 else 'a'}-20260101T0000{number:02}Z.log").touch()
    (folder / "notes.txt").touch()
    below = project.folder / "below"
    below.mkdir()
    terminal = project.terminal(cwd=below)
    assert terminal.wait() == 2
    names = [path.name for path in project.logs if path.name != "notes.txt"]
    assert len(names) == 20 and len(project.logs) == 21
    assert sum(name.startswith("play-") for name in names) == 1
    assert {name[-7:-5] for name in names if not name.startswith("play-")} == {
        f"{number:02}" for number in range(11, 30)
    }
    assert not list(below.iterdir())
    assert f"Log: {folder}/play-" in terminal.screen.replace("\n", "").replace("Log:", "Log: ")


def test_a_clock_that_was_ahead_costs_no_run_its_log(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"site-20990101T0000{number:02}Z.log").touch()
    for number in range(3):
        screen.Log(tmp_path, f"play-20260101T0000{number:02}Z.log", 2).close()
    # In one second, of two playbooks: the one that is written now stays.
    screen.Log(tmp_path, "a-20260101T000002Z.log", 1).close()
    assert sorted(path.name for path in tmp_path.glob("*-2026*")) == ["a-20260101T000002Z.log"]
    assert len(list(tmp_path.glob("*-2099*"))) == 4
    screen.Log(tmp_path, "b-20260101T000003Z.log", 2).close()
    assert sorted(path.name[0] for path in tmp_path.glob("*-2026*")) == ["a", "b"]


def test_errors_go_where_standard_error_goes(project: Project) -> None:
    project.write(GOOD.replace("hosts: pi-01,pi-02,pi-03", "hosts: pi-01,absent"))
    errors = project.folder / "errors"
    with errors.open("w") as file:
        assert (terminal := project.terminal(stderr=file.fileno())).wait() == 0
    assert "Could not match supplied host pattern" in errors.read_text()
    assert "Could not match" not in terminal.screen


@pytest.mark.parametrize("how", ["key", "signal"])
def test_a_stopped_run_leaves_a_usable_terminal(project: Project, how: str) -> None:
    project.write("""\
        - name: Wait for boards
          hosts: pi-01
          gather_facts: false
          tasks:
            - name: Wait long
              ansible.builtin.command: sleep 60
        """)
    terminal = project.terminal()
    terminal.until("Wait long")
    assert terminal.raw.rindex("\x1b[?25h") > terminal.raw.rindex("\x1b[?25l")
    if how == "signal":
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.wait() == -signal.SIGTERM
        return
    terminal.type("\x03")
    assert terminal.wait() == 99
    *_, said, stage, log = lines(terminal)
    assert said == "[ERROR]: User interrupted execution"
    assert stage == "✗ Wait for boards: stopped"
    assert log.startswith("Log: results/logs/play-")
    assert not (project.folder / ".ansible" / "durations.json").exists()
