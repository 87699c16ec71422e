"""Boards leave and join the export by its own file."""

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.nfs import scope

HEAD = "# Managed by Ansible (role nfs_server). Every client is squashed to one user."


def exports(*clients: str, left_out: str = "") -> str:
    middle = f"# Left out until they join again: {left_out}\n" if left_out else ""
    return f'{HEAD}\n{middle}"/srv/books"' + "".join(f" {client}(rw,fsid=0)" for client in clients) + "\n\n"


def test_one_client_leaves_and_comes_back_and_the_file_is_as_before() -> None:
    before = exports("10.0.0.11", "10.0.0.12", "10.0.0.15")
    found = scope.Scope.parse(before)
    assert found.text() == before
    assert found.leave_out(["10.0.0.12"])
    assert found.text() == exports("10.0.0.11", "10.0.0.15", left_out="10.0.0.12")
    again = scope.Scope.parse(found.text())
    assert not again.leave_out(["10.0.0.12"])
    assert again.admit(["10.0.0.12"])
    assert again.text() == before
    assert not again.admit(["10.0.0.12"])


def test_the_last_client_stays_because_a_line_without_any_is_open_to_everybody() -> None:
    found = scope.Scope.parse(exports("10.0.0.11", "10.0.0.12"))
    found.leave_out(["10.0.0.11", "10.0.0.12"])
    assert len(found.clients) == 1


def test_a_network_that_holds_an_address_is_told() -> None:
    found = scope.Scope.parse(exports("10.0.0.0/24"))
    assert not found.admit(["10.0.0.15"])
    assert not found.leave_out(["10.0.0.15"])
    assert found.networks_with(["10.0.0.15"]) == ["10.0.0.0/24"]


def test_spare_boards_join_and_leave_by_the_file_not_by_the_inventory() -> None:
    cluster, spare = ["10.0.0.11", "10.0.0.12"], ["10.0.0.15", "10.0.0.16"]
    declared = [*cluster, *spare]
    # Nothing there yet: all that are declared.
    assert scope.wanted(declared, cluster, spare, "")["clients"] == declared
    # Removed, still declared as spare: stays out.
    gone = exports(*cluster, "10.0.0.16", left_out="10.0.0.15")
    assert scope.wanted(declared, cluster, spare, gone) == {
        "clients": ["10.0.0.11", "10.0.0.12", "10.0.0.16"], "left_out": ["10.0.0.15"],
    }  # fmt: skip
    # Moved into the cluster since: in again, and forgotten.
    moved = scope.wanted(declared, [*cluster, "10.0.0.15"], ["10.0.0.16"], gone)
    assert moved == {"clients": declared, "left_out": []}
    # Joined although the inventory's own list has only the cluster.
    joined = exports(*cluster, "10.0.0.15")
    assert scope.wanted(cluster, cluster, spare, joined)["clients"] == [*cluster, "10.0.0.15"]
    # An address that is neither declared nor spare goes.
    assert scope.wanted(cluster, cluster, spare, exports(*cluster, "10.0.0.99"))["clients"] == cluster


def test_a_file_that_somebody_edited_is_not_guessed_at() -> None:
    for text in ("", f"{HEAD}\n", '"/srv/books" 10.0.0.1(rw) 10.0.0.2(ro)\n', "/srv/books 10.0.0.1(rw)\n"):
        with pytest.raises(ValueError):
            scope.Scope.parse(text)
