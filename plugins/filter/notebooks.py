"""Jinja filters of the notebooks role: the files on NFS, the boards without a record, the table of its timings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import (
    DIGEST,
    Refused,
    new_run,
    printable,
    run_name,
    text,
)


def notebooks_export_files(inputs: dict[str, Any], dataset: str) -> dict[str, str]:
    """Path below the export to SHA-256, from the output of edge_notebooks.py."""
    files = {f"notebooks/{name}": digest for name, digest in inputs["files"].items()}
    return files | {f"data/{dataset}/{name}": digest for name, digest in inputs["data"].items()}


def notebooks_sources(names: list[str], files: dict[str, str], notebooks: str, cache: str) -> dict[str, str]:
    """Path below the export to the file's path on the control node: notebooks/... or data/<set>/... .

    `names` is what the NFS server lacks of `files`, and any other name an error: it would choose what it is sent.
    """
    if foreign := [name for name in names if name not in files]:
        raise AnsibleFilterError(f"the NFS server asks for {printable(foreign)}, which is not a file of the notebooks")
    roots = {"notebooks": notebooks, "data": cache}
    return {name: f"{roots[name.split('/', 1)[0]]}/{name.split('/', 1)[1]}" for name in names}


def notebooks_base(found: dict[str, Any]) -> dict[str, str]:
    """Name and digest of a run, as the NFS server reports it, for Jobs: text of another form would be part of them."""
    try:
        return {
            "run": run_name(found["run"]),
            "inputs_digest": text(found["inputs_digest"], DIGEST, "inputs_digest of the run"),
        }
    except (Refused, KeyError) as error:
        raise AnsibleFilterError(f"the NFS server reports a run that cannot be one: {error}") from None


def notebooks_pending(boards: list[str], computed: list[list[str]], inputs_digest: str) -> list[str]:
    """Those of `boards` (nodes) that have not computed with these inputs, given [host, inputs_digest] of records."""
    done = {host for host, digest in computed if digest == inputs_digest}
    return [node for node in boards if node not in done]


def aligned(rows: list[list[str]], left: int) -> list[str]:
    """Rows as lines with aligned columns, the first `left` of them to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def notebooks_table(records: list[dict[str, Any]], folder: str, thesis: dict[str, float]) -> str:
    """The timings of a run as text for 80 columns: total, accuracy and the thesis's figure, then seconds by phase.

    `thesis` has the thesis's seconds by notebook.
    """
    phases = [name for name in records[0]["phases"] if any(record["phases"][name] for record in records)]
    totals = [["notebook", "profile", "host", "total", "accuracy", "thesis clock", "thesis"]]
    parts = [["notebook", "profile", "host", *phases]]
    for record in records:
        name = [record["notebook"], record["profile"], printable(record["host"], 63)]
        seconds = [record["phases"][phase] for phase in phases]
        parts.append([*name, *("-" if one is None else f"{one:.2f}" for one in seconds)])
        totals.append(
            [
                *name,
                f"{record['total']:.2f}",
                f"{record['test_accuracy']:.2%}",
                f"{record['thesis_clock']:.2f}",
                f"{thesis[record['notebook']]:.2f}",
            ]
        )
    machines = dict.fromkeys(
        f"{printable(record['host'], 63)}: {printable(record['hardware'], 100)}" for record in records
    )
    return "\n".join(
        [
            *aligned(totals, 3),
            "",
            *aligned(parts, 3),
            "",
            "Seconds. The thesis measured two Raspberry Pi 4B, from compile to the end of",
            "fit or load_weights (thesis clock).",
            *machines,
            f"Report: {folder}/report.html",
        ]
    )


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Filters by name."""
        return {
            "notebooks_base": notebooks_base,
            "notebooks_export_files": notebooks_export_files,
            "notebooks_new_run": new_run,
            "notebooks_pending": notebooks_pending,
            "notebooks_sources": notebooks_sources,
            "notebooks_table": notebooks_table,
        }
