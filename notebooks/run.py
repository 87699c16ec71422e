"""Execute one notebook of a run with papermill, and complete a run: the program of the cluster's Jobs.

    python run.py training   --profile fast [--run NAME] [--books /books] [--inputs-digest HEX]
    python run.py prediction --profile lite [--run NAME]    # without TensorFlow, from the training of fast
    python run.py report     [--run NAME]                   # also writes HTML, archive and complete.json
    python run.py prediction --profile fast --run NEW --extends OLD   # add a board to a complete run

Without --run, training starts a new run, and the others belong to the newest one.

The executed notebook is in <books>/runs/<run>/, also when a cell fails. Then the exit status is 1, and the failure is
written as JSON to the file TERMINATION_LOG (Kubernetes stores it as the pod's termination message).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import sys
import tarfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import edge_notebooks as edge
import shared_data

#: Kubernetes truncates a termination message to 4096 bytes; the longest parts are truncated here.
MESSAGE_PART = 700
#: Added to the HTML pages of notebooks: readable width, tables that scroll on a phone, nothing from the network.
STYLE = """
<style>
body { max-width: 62rem; margin: 0 auto !important; padding: 1rem 1.5rem 4rem; background: #fff;
       font-family: system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; line-height: 1.55; }
.jp-RenderedHTMLCommon { font-family: inherit; font-size: 15px; }
.jp-OutputArea-output { overflow-x: auto; }
.jp-OutputArea-output svg { max-width: 100%; height: auto; }
.jp-RenderedHTMLCommon table { font-variant-numeric: tabular-nums; margin-left: 0; }
.jp-RenderedHTMLCommon blockquote { border-left: 4px solid #f28e2b; background: #fff6ec; padding: .6rem 1rem;
       margin-left: 0; }
</style>
"""


def execute(notebook: str, folder: Path, stem: str, parameters: dict[str, str]) -> None:
    """Execute <notebook>.ipynb into <folder>/<stem>.ipynb. Raises PapermillExecutionError for a failed cell."""
    import papermill

    papermill.execute_notebook(
        edge.HERE / f"{notebook}.ipynb",
        folder / f"{stem}.ipynb",
        parameters=parameters,
        kernel_name="python3",
        cwd=str(edge.HERE),
        progress_bar=False,
        log_output=True,
    )


def failure(error: Any, notebook: Path) -> dict[str, Any]:
    """The report on a failed cell, short enough for a termination message."""
    return {
        "notebook": str(notebook),
        "cell": error.cell_index,
        "ename": error.ename,
        "evalue": error.evalue[:MESSAGE_PART],
        "source": error.source[:MESSAGE_PART],
    }


def write_termination_message(message: dict[str, Any]) -> None:
    """Write a message to where the kubelet reads it; outside of a pod there is no such file."""
    path = Path(os.environ.get("TERMINATION_LOG", "/dev/termination-log"))
    if path.exists():
        path.write_text(json.dumps(message))


def html(notebook: str, title: str, code: bool) -> str:
    """A page of an executed notebook (its JSON) that is self-contained: no script, no file, no network."""
    import nbformat
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(exclude_input=not code, exclude_input_prompt=True, exclude_output_prompt=True)
    page, _ = exporter.from_notebook_node(nbformat.reads(notebook, as_version=4), {"metadata": {"name": title}})
    page = re.sub(r"<script\b.*?</script\s*>", "", page, flags=re.DOTALL)
    return page.replace("</head>", STYLE + "</head>", 1)


def duration(notebook: str, what: str) -> float:
    """Seconds that papermill wrote into an executed notebook (its JSON); 0 if it was not executed by papermill."""
    found = shared_data.parse_json(notebook, what)
    papermill = found.get("metadata", {}).get("papermill", {}) if isinstance(found, dict) else {}
    return round(shared_data.number(papermill.get("duration") or 0.0, f"{what}: duration"), 1)


def finish(books: Path, run: str, inputs_digest: str) -> None:
    """Write the HTML pages, the archive of the run, and last complete.json, which marks it as complete.

    The directory of the run is shared: files of other notebooks with invalid names, links and special files are
    excluded. Raises Refused for a run that is too large to be fetched.
    """
    folder = books / "runs" / run
    durations: dict[str, float] = {}
    for name in shared_data.files(books, f"runs/{run}"):
        path = folder / name
        if path.suffix == ".ipynb" and "/" not in name:
            notebook = shared_data.read(folder, name, shared_data.ARCHIVE_BYTES).decode()
            durations[path.stem] = duration(notebook, str(path))
            title = "Edge AI Cluster: report" if path.stem == "report" else path.stem
            edge.write_text(path.with_suffix(".html"), html(notebook, title, code=path.stem != "report"))

    archive = folder / shared_data.ARCHIVE
    with edge.publish(archive) as temporary, tarfile.open(temporary, "w:gz", compresslevel=6) as tar:
        for name in shared_data.files(books, f"runs/{run}"):
            if name not in (shared_data.ARCHIVE, "complete.json"):
                content = shared_data.read(folder, name, shared_data.ARCHIVE_BYTES)
                entry = tarfile.TarInfo(name)
                entry.size, entry.mtime = len(content), int(time.time())
                tar.addfile(entry, io.BytesIO(content))
    size = archive.stat().st_size
    if size > shared_data.ARCHIVE_BYTES:
        raise edge.InvalidFile(f"{archive}: has {size:,} bytes, more than the limit: remove large files from {folder}")
    complete = {
        "run": run,
        "inputs_digest": inputs_digest,
        "finished": edge.utc(datetime.now(UTC)),
        "durations": durations,
        "archive_sha256": edge.sha256(archive),
    }
    edge.write_text(folder / "complete.json", json.dumps(complete, indent=2) + "\n")


def command_line(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line; exits with status 2 if it is invalid."""
    parser = argparse.ArgumentParser(description="Execute one notebook of a run.")
    parser.add_argument("notebook", choices=["training", "prediction", "report"])
    parser.add_argument("--run", help="name of the run; its results are in <books>/runs/<run>")
    parser.add_argument("--profile", choices=edge.PROFILES, help="needed for training and prediction")
    parser.add_argument("--extends", help="complete run that the new one extends by one more board")
    parser.add_argument("--books", type=Path, default=Path("/books"), help="the shared directory")
    parser.add_argument("--inputs-digest", default="", help="digest of the inputs; empty: computed here")
    options = parser.parse_args(arguments)
    if (options.notebook == "report") == bool(options.profile):
        parser.error("training and prediction need --profile; report has none")
    if options.notebook == "training" and options.profile == "lite":
        parser.error(f"lite is not trained: training with --profile {edge.LITE_SOURCE} leaves its model")
    if options.extends and (options.notebook != "prediction" or not options.run):
        parser.error("--extends is for prediction, and needs --run with the new run's name")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns 0 on success, 1 when a cell failed."""
    options = command_line(arguments)
    from papermill.exceptions import PapermillExecutionError

    digest = options.inputs_digest or edge.inputs()["digest"]
    run = options.run
    if not run:
        run = edge.new_run(digest) if options.notebook == "training" else edge.newest_run(options.books)
    if options.extends:
        folder = edge.extend_run(options.books, run, options.extends)
    else:
        folder = edge.open_run(options.books, run)
    parameters = {"books": str(options.books), "notebooks": str(edge.HERE), "run": run}
    stem = options.notebook
    if options.profile:
        stem = f"{options.notebook}-{options.profile}"
        parameters |= {"profile": options.profile, "inputs_digest": digest}
    if options.extends:
        # A board that joined later: the newest weights, and separate files beside those of the run.
        parameters["board"] = edge.host()
        stem = f"{stem}-{edge.host()}"
    elif options.notebook == "prediction":
        # The weights of this run, not the newest ones: another run may be publishing its own at the same time.
        parameters["weights"] = str(folder / edge.MODELS[options.profile])
    try:
        execute(options.notebook, folder, stem, parameters)
        if options.notebook == "report":
            finish(options.books, run, digest)
    except PapermillExecutionError as error:
        message = failure(error, folder / f"{stem}.ipynb")
        write_termination_message(message)
        print(f"{stem}: cell {error.cell_index} failed: {error.ename}: {error.evalue}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in edge.NO_ROOM:
            raise
        # Papermill writes the notebook after each cell, also one that failed because it found no room.
        print(f"{stem}: {error.strerror}: {error.filename or folder / f'{stem}.ipynb'}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
