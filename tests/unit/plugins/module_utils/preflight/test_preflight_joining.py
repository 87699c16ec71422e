"""Names and addresses that the cluster already knows."""

from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.joining import Candidate, Member, check
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.model import Report

SERVER = Member("pi-01", "192.168.1.11", True, True, "v1.36.4+k3s1")
AGENT = Member("pi-03", "192.168.1.13", True, False, "v1.36.4+k3s1")


def board(name: str, address: str, **other: object) -> Candidate:
    fields = {"node": name, "version": "v1.36.4+k3s1", "spare": False, "named": False} | other
    return Candidate(host=name, address=address, **fields)  # type: ignore[arg-type]


def check_boards(*boards: Candidate, members: tuple[Member, ...] = (SERVER, AGENT)) -> tuple[list[str], str]:
    report = Report()
    joining = check(list(boards), list(members), report)
    return joining, "\n".join(str(each) for each in report.findings())


def test_complete_cluster_has_no_board_to_join() -> None:
    assert check_boards(board("pi-01", "192.168.1.11"), board("pi-03", "192.168.1.13")) == ([], "")


def test_missing_not_ready_spare_and_named_boards_join() -> None:
    not_ready = Member("pi-03", "192.168.1.13", False, False, "v1.36.4+k3s1")
    found = check_boards(
        board("pi-02", "192.168.1.12"), board("pi-03", "192.168.1.13"), board("pi-05", "192.168.1.15", spare=True),
        members=(SERVER, not_ready),
    )  # fmt: skip
    assert found == (["pi-02", "pi-03", "pi-05"], "")
    assert check_boards(board("pi-03", "192.168.1.13", named=True)) == (["pi-03"], "")


def test_name_of_another_machine_is_rejected() -> None:
    _, text = check_boards(board("pi-03", "192.168.1.33", named=True))
    assert text.startswith("pi-03: Node name = pi-03: the cluster has a Node of this name at 192.168.1.13, not at")


def test_address_of_another_machine_is_rejected() -> None:
    _, text = check_boards(board("pi-05", "192.168.1.13", spare=True))
    assert text.startswith("pi-05: ansible_host = 192.168.1.13: Node pi-03 of the cluster has this address; ")


def test_agent_newer_than_its_server_is_rejected() -> None:
    _, text = check_boards(board("pi-05", "192.168.1.15", spare=True, version="v1.36.5+k3s1"))
    assert "k3s_version = v1.36.5+k3s1: the cluster's servers run v1.36.4+k3s1" in text
    assert check_boards(board("pi-05", "192.168.1.15", spare=True, version="v1.36.3+k3s1"))[1] == ""
