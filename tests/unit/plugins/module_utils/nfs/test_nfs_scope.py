"""Boards leave and join the export by its own file."""

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.nfs import scope

HEAD = "# Managed by Ansible (role nfs_server). Every client is squashed to one user."


def exports(*clients: str, joined: str = "", left_out: str = "") -> str:
    middle = f"# Boards that have joined: {joined}\n" if joined else ""
    middle += f"# Left out until they join again: {left_out}\n" if left_out else ""
    return f'{HEAD}\n{middle}"/srv/books"' + "".join(f" {client}(rw,fsid=0)" for client in clients) + "\n\n"


def test_one_client_leaves_and_joins_again_and_the_file_is_as_before() -> None:
    before = exports("10.0.0.11", "10.0.0.12", "10.0.0.15", joined="10.0.0.11 10.0.0.12 10.0.0.15")
    found = scope.Scope.parse(before)
    assert found.text() == before
    assert found.leave_out(["10.0.0.12"])
    assert found.text() == exports("10.0.0.11", "10.0.0.15", joined="10.0.0.11 10.0.0.15", left_out="10.0.0.12")
    again = scope.Scope.parse(found.text())
    assert not again.leave_out(["10.0.0.12"])
    assert again.admit(["10.0.0.12"])
    assert again.text() == before
    assert not again.admit(["10.0.0.12"])


def test_the_last_client_stays_because_a_line_without_any_is_open_to_every_address() -> None:
    found = scope.Scope.parse(exports("10.0.0.11", "10.0.0.12"))
    found.leave_out(["10.0.0.11", "10.0.0.12"])
    assert len(found.clients) == 1


def test_a_network_that_holds_an_address_is_reported() -> None:
    found = scope.Scope.parse(exports("10.0.0.0/24"))
    assert found.admit(["10.0.0.15"])
    assert found.text() == exports("10.0.0.0/24", joined="10.0.0.15")
    assert not found.admit(["10.0.0.15"])
    assert found.leave_out(["10.0.0.15"])
    assert found.text() == exports("10.0.0.0/24")
    assert not found.leave_out(["10.0.0.15"])
    assert found.networks_with(["10.0.0.15"]) == ["10.0.0.0/24"]


CLUSTER, SPARE = ["10.0.0.11", "10.0.0.12"], ["10.0.0.15", "10.0.0.16"]


def test_spare_boards_that_never_joined_are_not_added() -> None:
    assert scope.wanted(CLUSTER, CLUSTER, SPARE, "") == {"clients": CLUSTER, "joined": CLUSTER, "left_out": []}
    # The file of an older release, which added every declared board, and did not record which had joined.
    assert scope.wanted(CLUSTER, CLUSTER, SPARE, exports(*CLUSTER, *SPARE))["clients"] == CLUSTER


def test_what_joining_and_leaving_wrote_is_what_the_role_wants() -> None:
    def rendered(text: str, cluster: list[str], spare: list[str]) -> str:
        now = scope.wanted(cluster, cluster, spare, text)
        return exports(*now["clients"], joined=" ".join(now["joined"]), left_out=" ".join(now["left_out"]))

    found = scope.Scope.parse(rendered("", CLUSTER, SPARE))
    assert found.admit(["10.0.0.15"])
    assert found.clients == [*CLUSTER, "10.0.0.15"]
    # Later runs keep it: while it is spare, and when it was moved into the cluster.
    assert rendered(found.text(), CLUSTER, SPARE) == found.text()
    assert rendered(found.text(), [*CLUSTER, "10.0.0.15"], ["10.0.0.16"]) == found.text()
    # Moved from the cluster to spare without being removed: it still is a node.
    assert rendered(found.text(), ["10.0.0.11"], ["10.0.0.12", *SPARE]) == found.text()
    # No longer declared.
    assert "10.0.0.15" not in rendered(found.text(), CLUSTER, ["10.0.0.16"])
    assert found.leave_out(["10.0.0.15"])
    assert found.clients == CLUSTER
    assert rendered(found.text(), CLUSTER, SPARE) == found.text()
    # A board of the cluster that was declared after the last site.yml.
    assert found.admit(["10.0.0.17"])
    assert rendered(found.text(), [*CLUSTER, "10.0.0.17"], SPARE) == found.text()


def test_a_list_in_the_inventory_is_kept_except_for_boards_that_left() -> None:
    gone = exports(*CLUSTER, "10.0.0.99", joined=" ".join(CLUSTER), left_out="10.0.0.15")
    given = [*CLUSTER, "10.0.0.15", "10.0.0.99"]
    assert scope.wanted(given, CLUSTER, SPARE, gone) == {
        "clients": [*CLUSTER, "10.0.0.99"], "joined": CLUSTER, "left_out": ["10.0.0.15"],
    }  # fmt: skip
    # Moved into the cluster since: added again, and its record removed.
    moved = scope.wanted(given, [*CLUSTER, "10.0.0.15"], ["10.0.0.16"], gone)
    assert moved["clients"] == given
    assert moved["left_out"] == []
    # A network that holds a board needs no line for it.
    joined = exports("10.0.0.0/24", joined="10.0.0.11 10.0.0.12 10.0.0.15")
    assert scope.wanted(["10.0.0.0/24"], CLUSTER, SPARE, joined)["clients"] == ["10.0.0.0/24"]
    assert scope.wanted(CLUSTER, CLUSTER, SPARE, exports(*CLUSTER, "10.0.0.99"))["clients"] == CLUSTER


def test_a_file_that_was_edited_is_refused() -> None:
    for text in ("", f"{HEAD}\n", '"/srv/books" 10.0.0.1(rw) 10.0.0.2(ro)\n', "/srv/books 10.0.0.1(rw)\n"):
        with pytest.raises(ValueError):
            scope.Scope.parse(text)
