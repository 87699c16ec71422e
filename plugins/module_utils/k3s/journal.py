"""What k3s says in its journal: the lines that matter, and what to do about the errors that are known.

Runs on the board, needs nothing but the standard library.
"""

from __future__ import annotations

import re

#: Lines of the journal that are shown.
TAIL = 6
# What k3s logs when waiting longer does not help, and what the operator can do about it.
PERMANENT = (
    (
        "Node password rejected",
        "This node's name is already known to the cluster with another password (two boards of one name, or one that "
        "lost /etc/rancher/node). Stop k3s-agent on this board, then on a server: k3s kubectl delete node {node}; then "
        "run again.",
    ),
    (
        "does not match the Cluster CA certificate hash",
        "The token on this node belongs to another cluster. Run site.yml --tags cluster without --limit: it "
        "fetches the server's current token to the control node and copies it to the nodes.",
    ),
    (
        "bootstrap data already found and encrypted with different token",
        "The datastore belongs to another token: put that token back into k3s_token_file, or reset the cluster.",
    ),
    (
        "duplicate node name found",
        "etcd still has the member of the card that this board had before. It goes with the Node, on another server: "
        "k3s kubectl delete node {node}; then run again.",
    ),
    (
        "critical configuration value mismatch",
        "This server's settings of the network, the domain or kube-proxy are not those of the cluster: give every "
        "server the same k3s_flannel_backend and k3s_server_config.",
    ),
    (
        "flag provided but not defined",
        "config.yaml holds a key that this version does not know: see k3s_server_config and k3s_agent_config.",
    ),
    (
        "invalid kernel flag",
        "Kernel parameters are not what kubelet demands (protect-kernel-defaults): run site.yml --tags base.",
    ),
    (
        "memory cgroup",
        "The memory cgroup is off: cmdline.txt of the boot partition needs cgroup_enable=memory, then a reboot "
        "(site.yml --tags base does both).",
    ),
    (
        "configured to not run on a host using cgroup v1",
        "This board runs cgroup v1; use an OS with cgroup v2 (Raspberry Pi OS bookworm or later).",
    ),
)
# What may still pass by itself, but explains a time-out.
TRANSIENT = (
    (
        "Failed to validate connection to cluster",
        "The server is not reachable from here: is k3s active there, and port 6443 open?",
    ),
    (
        r"certificate has expired or is not yet valid: current time \S+ is before",
        "A certificate is not valid yet by this board's clock, which is behind: check `timedatectl` on all boards.",
    ),
    (
        "certificate has expired",
        "A certificate of k3s has expired: run site.yml without --limit. It restarts servers, then agents, and k3s "
        "renews its certificates when it starts.",
    ),
    ("Unauthorized", "The server refuses this node's token or certificate: see the lines above."),
)


def journal_tail(lines: list[str]) -> list[str]:
    """The last TAIL different messages that say something went wrong, oldest first; others where those are too few.

    Time stamps go, and so does what components report in the course of things: an agent's reason is often one line
    among hundreds of theirs. k3s's own information lines stay, for they name what it waits for.
    """
    bad: list[str] = []
    other: list[str] = []
    order: dict[str, int] = {}
    for number, line in enumerate(lines):
        text = re.sub(r'time="?[^" ]*"? (?=level=)', "", line.strip())
        text = re.sub(r"\b([IWEF])\d{4} \d\d:[\d:.]+ +\d+ ", r"\1 ", text)
        if not text or re.match(r"([\w-]+: )?I |[\w-]+: (level=(info|warning)|INFO)", text):
            continue
        (bad if re.search(r"level=(fatal|error|warning)|(^|: )[EF] |[Ff]ailed|rejected", text) else other).append(text)
        order[text] = number
    latest = sorted(dict.fromkeys(bad), key=order.__getitem__)[-TAIL:]
    latest += sorted(dict.fromkeys(other), key=order.__getitem__)[::-1][: TAIL - len(latest)]
    return sorted(latest, key=order.__getitem__)


def advice(lines: list[str], node: str) -> tuple[str, bool]:
    """What to do about the last error in `lines`, and whether it is one that never passes. Empty when unknown."""
    for line in reversed(lines):
        for table, permanent in ((PERMANENT, True), (TRANSIENT, False)):
            for pattern, text in table:
                if re.search(pattern, line):
                    return text.format(node=node), permanent
    return "", False
