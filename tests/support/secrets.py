"""Where secrets of a cluster must not be: output of playbooks, journals, logs, arguments and environments."""

from __future__ import annotations

from tests.support.cluster import CLUSTER, connect

#: Files of the control node's secrets folder whose content must not be anywhere else.
NAMES = (
    "k3s-token", "k3s-agent-token", "jupyter-password", "jupyter-password.cookies", "ingress-ca.key",
    "ingress.key", "id_ed25519", "backup-signer", "hub.cookies", "hub/user-1",
    "status-token",
)  # fmt: skip
PLAIN = r"| tr -cd '[:print:]\n'"
#: Searched here, not on the board: a command with a secret in it would itself be logged by sudo.
PLACES = {
    "journal": "journalctl --no-pager --quiet --output=cat",
    "arguments": f"cat /proc/[0-9]*/cmdline {PLAIN}",
    "environment": f"cat /proc/[0-9]*/environ {PLAIN}",
    # Of modules, and of those that were killed.
    "temporary files": "find /tmp /var/tmp /root/.ansible /home/*/.ansible -xdev -type f -size -1024k -exec cat {} + "
    f"2>/dev/null {PLAIN}",
    "logs": f"find /var/log -type f -not -path '*/journal/*' -exec cat {{}} + {PLAIN}",
}


def secrets() -> dict[str, str]:
    """Secrets of the cluster by the name of their file, as far as they exist; of a key its last full line."""
    folder = CLUSTER.path("cluster_secrets_dir")
    found = {name: (folder / name).read_text().strip() for name in NAMES if (folder / name).is_file()}
    return {name: text.splitlines()[-2] if "\n" in text else text for name, text in found.items()}


def in_text(text: str) -> list[str]:
    """Names of the secrets that stand in a text."""
    return [name for name, secret in secrets().items() if secret in text]


def on_boards() -> list[tuple[str, str, str]]:
    """(board, place, secret) wherever a secret can be read on a running board."""
    found = []
    for name in CLUSTER.hosts("cluster"):
        board = connect(name)
        for place, command in PLACES.items():
            text = board.run(command).stdout
            assert text or place in ("temporary files", "logs"), f"{place} of {name} cannot be read"
            found += [(name, place, secret) for secret in in_text(text)]
    return found
