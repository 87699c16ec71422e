"""The archive of a run as the NFS server sends it, which may be a board that others control."""

from __future__ import annotations

import base64
import io
import os
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.edge_ai.cluster.plugins.action import notebooks_results as action
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import ARCHIVE_BYTES, Refused

RUN = "20261101T000000Z-1a2b3c4d"


def fetch(answers: Any) -> tuple[bytes, list[int]]:
    """What is fetched from a board that answers so, and the offsets that it is asked for."""
    asked: list[int] = []

    def execute(module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> Any:
        assert module_args["name"] == f"runs/{RUN}/results.tar.gz"
        assert len(asked) < 100, "asked without end"
        asked.append(module_args["offset"])
        return answers(module_args["offset"], module_args["length"])

    archive = io.BytesIO()
    board: Any = SimpleNamespace(_execute_module=execute)
    action.ActionModule._fetch(board, "/srv/books", RUN, archive, {})
    assert archive.tell() == 0
    return archive.read(), asked


def part(content: bytes, size: Any) -> dict[str, Any]:
    return {"content": base64.b64encode(content).decode(), "size": size}


def test_an_archive_comes_in_parts() -> None:
    content = os.urandom(2 * action.PART + 10)
    fetched, asked = fetch(lambda offset, length: part(content[offset : offset + length], len(content)))
    assert fetched == content
    assert asked == [0, action.PART, 2 * action.PART]
    assert fetch(lambda offset, length: part(b"", 0)) == (b"", [0])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (part(b"x", 30 << 20), "the NFS server sent 1 bytes from 0 on, of 31,457,280"),
        (part(b"", 30 << 20), "the NFS server sent 0 bytes from 0 on, of 31,457,280"),
        (part(bytes(9 << 20), 10 << 20), "the NFS server sent 9,437,184 bytes from 0 on, of 10,485,760"),
        (part(bytes(4 << 20), ARCHIVE_BYTES + 1), "its size is 33554433, not one of up to 33,554,432"),
        (part(b"x", -1), "its size is -1,"),
        (part(b"x", True), "its size is True,"),
        (part(b"x", "1\x1b[2J"), r"its size is '1\x1b[2J',"),
        ({"size": 1}, "the NFS server sent 0 bytes from 0 on, of 1"),
        ({"content": "x", "size": 1}, "is not base64"),
        ({"content": "\u00e9", "size": 1}, "is not base64"),
        ({"content": ["eA=="], "size": 1}, "the NFS server sent 0 bytes"),
    ],
)
def test_what_is_no_part_of_an_archive_is_refused(answer: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused) as refused:
        fetch(lambda offset, length: answer)
    assert str(refused.value).startswith(f"/srv/books/runs/{RUN}/results.tar.gz: ")
    assert reason in str(refused.value)


def test_an_archive_that_shrinks_or_grows_meanwhile_is_refused() -> None:
    sizes = iter([10 << 20, 1 << 20])
    with pytest.raises(Refused, match="4,194,304 bytes from 4,194,304 on, of 1,048,576"):
        fetch(lambda offset, length: part(bytes(length), next(sizes)))
