"""Jinja filters of the notebooks role: the files on NFS, the Jobs of a run, the table of its timings."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from ansible_collections.edge_ai.cluster.plugins.module_utils.shared_data import printable

#: The label value that all Jobs of a run share; other parts of the cluster use other values.
MANAGER = "edge-ai-notebooks"
#: The thesis's measurements on two Raspberry Pi 4B (seconds, by its own clock).
THESIS = {"training": 46.1171, "prediction": 6.0485}


def notebooks_export_files(inputs: dict[str, Any], dataset: str) -> dict[str, str]:
    """Path below the export to SHA-256, from the output of edge_notebooks.py."""
    files = {f"notebooks/{name}": digest for name, digest in inputs["files"].items()}
    return files | {f"data/{dataset}/{name}": digest for name, digest in inputs["data"].items()}


def notebooks_sources(names: list[str], notebooks: str, cache: str) -> dict[str, str]:
    """Path below the export to the file's path on the control node: notebooks/... or data/<set>/... ."""
    roots = {"notebooks": notebooks, "data": cache}
    return {name: f"{roots[name.split('/', 1)[0]]}/{name.split('/', 1)[1]}" for name in names}


def notebooks_jobs(base: dict[str, Any], settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The Jobs of a run in their order: every training, then every prediction, then the report.

    `base` is the manifest of k8s/jobs/base; `settings` has run, inputs_digest, profiles, image, namespace and timeout
    (seconds). Each item has name, title and job (the manifest).
    """
    steps = [(notebook, profile) for notebook in ("training", "prediction") for profile in settings["profiles"]]
    return [_job(base, settings, notebook, profile) for notebook, profile in [*steps, ("report", "")]]


def notebooks_board_jobs(base: dict[str, Any], settings: dict[str, Any], boards: list[str]) -> list[dict[str, Any]]:
    """The Jobs that extend a complete run: a prediction on each of `boards`, then the report.

    `settings` as for notebooks_jobs, and `extends`, the run, with `extends_digest`, its inputs' digest: the report
    makes the new run one of these same inputs.
    """
    jobs = [_job(base, settings, "prediction", profile, node) for node in boards for profile in settings["profiles"]]
    return [*jobs, _job(base, settings | {"inputs_digest": settings["extends_digest"]}, "report", "")]


def notebooks_pending(boards: list[str], computed: list[list[str]], inputs_digest: str) -> list[str]:
    """Those of `boards` (nodes) that have not computed with these inputs, given [host, inputs_digest] of records."""
    done = {host for host, digest in computed if digest == inputs_digest}
    return [node for node in boards if node not in done]


def _job(base: dict[str, Any], settings: dict[str, Any], notebook: str, profile: str, node: str = "") -> dict[str, Any]:
    # A Job's name becomes a label of its pod, which is limited to 63 characters.
    name = "-".join(part for part in (notebook, profile, node) if part)[:63].rstrip("-.")
    job = copy.deepcopy(base)
    labels = {
        "app.kubernetes.io/name": notebook,
        "app.kubernetes.io/part-of": "edge-ai",
        "app.kubernetes.io/managed-by": MANAGER,
        "edge-ai/run": settings["run"],
    }
    job["metadata"] |= {"name": name, "namespace": settings["namespace"], "labels": labels}
    job["spec"]["activeDeadlineSeconds"] = int(settings["timeout"])
    template = job["spec"]["template"]
    template["metadata"] = {"labels": labels}
    pod = template["spec"]
    if profile:
        # The report computes nothing: it runs on any node.
        pod["nodeSelector"] = {"role": notebook}
    if node:
        # Exactly this board, whatever its role and its taints.
        pod["nodeSelector"] = {"kubernetes.io/hostname": node}
        pod["tolerations"] = [{"operator": "Exists"}]
    container = pod["containers"][0]
    container["image"] = settings["image"]
    container["args"] = [
        notebook,
        f"--run={settings['run']}",
        f"--inputs-digest={settings['inputs_digest']}",
        *([f"--profile={profile}"] if profile else []),
        *([f"--extends={settings['extends']}"] if node else []),
    ]
    title = f"{notebook}.ipynb, profile {profile}" if profile else f"{notebook}.ipynb"
    return {"name": name, "title": title, "job": job}


def notebooks_table(records: list[dict[str, Any]], folder: str) -> str:
    """The timings of a run as text with aligned columns: seconds by phase, total, accuracy, the thesis's figure."""
    phases = [name for name in records[0]["phases"] if any(record["phases"][name] for record in records)]
    heads = ["notebook", "profile", "host", *phases, "total", "accuracy", "thesis clock", "thesis"]
    rows = [heads]
    for record in records:
        seconds = [record["phases"][name] for name in phases]
        rows.append(
            [
                record["notebook"],
                record["profile"],
                printable(record["host"], 63),
                *("-" if one is None else f"{one:.2f}" for one in seconds),
                f"{record['total']:.2f}",
                f"{record['test_accuracy']:.2%}",
                f"{record['thesis_clock']:.2f}",
                f"{THESIS[record['notebook']]:.2f}",
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    machines = dict.fromkeys(
        f"{printable(record['host'], 63)}: {printable(record['hardware'], 100)}" for record in records
    )
    return "\n".join(
        [
            *lines,
            "",
            "Seconds. The thesis measured two Raspberry Pi 4B, from compile to the end of fit or load_weights",
            "(thesis clock).",
            *machines,
            f"Report: {folder}/report.html",
        ]
    )


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Filters by name."""
        return {
            "notebooks_board_jobs": notebooks_board_jobs,
            "notebooks_export_files": notebooks_export_files,
            "notebooks_pending": notebooks_pending,
            "notebooks_jobs": notebooks_jobs,
            "notebooks_sources": notebooks_sources,
            "notebooks_table": notebooks_table,
        }
