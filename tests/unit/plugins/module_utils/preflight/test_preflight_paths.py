"""Checks of directories and files of the control node that variables name."""

import subprocess
from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight import paths
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.model import Report
from preflight_helpers import board, texts

from tests.support.paths import ROOT


def test_cache_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    report = Report()
    paths.check(board(tmp_path, cluster_cache_dir=f"{tmp_path}/file/cache"), report)
    assert (
        f"all.yml: cluster_cache_dir = {tmp_path}/file/cache: {tmp_path}/file is not a directory; "
        "write a directory's path"
    ) in texts(report)


def test_a_directory_that_is_a_link_to_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secrets").symlink_to(tmp_path / "gone")
    report = Report()
    paths.check(board(tmp_path), report)
    assert [text for text in texts(report) if f"{tmp_path}/secrets is not a directory" in text]


def test_files_of_the_image_that_others_may_not_read(tmp_path: Path) -> None:
    context = tmp_path / "docker"
    context.mkdir()
    (context / "overrides.json").touch(mode=0o600)
    inventory = board(tmp_path, container_image_context=str(context))
    report = Report()
    paths.check(inventory, report)
    assert (
        f"{context}: mode: not readable for other users (overrides.json), nor would they be in the image; "
        f"run `chmod -R go+rX {context}`"
    ) in texts(report)
    (context / "overrides.json").chmod(0o644)
    report = Report()
    paths.check(inventory, report)
    assert not [text for text in texts(report) if "not readable" in text]


def test_sources_that_are_not_there(tmp_path: Path) -> None:
    report = Report()
    paths.check(board(tmp_path, notebooks_source=str(tmp_path), manifests_source="/nonexistent"), report)
    (found,) = [text for text in texts(report) if "source" in text]
    assert found == (
        "all.yml: manifests_source = /nonexistent: there is no such directory; write its path, or delete the line"
    )


def test_secrets_are_files_that_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "tokens").mkdir()
    for name, value, problem in (
        ("k3s_token_file", tmp_path / "tokens", "not a file"),
        ("k3s_token_file", "/dev/null", "not a file"),
        ("k3s_token_file", tmp_path / "made/token", ""),
        ("k3s_agent_token_file", tmp_path / "missing/token", f"no file can be written in {tmp_path}/missing"),
        ("k3s_agent_token_file", tmp_path / "tokens/token", ""),
        ("manifests_jupyter_password_file", tmp_path / "secrets/made/password", ""),
        ("manifests_jupyter_password_file", "/dev/null/password", "no file can be written in /dev/null"),
    ):
        report = Report()
        paths.check(board(tmp_path, **{name: str(value)}), report)
        found = [text for text in texts(report) if name in text]
        assert [problem in text for text in found] == ([True] if problem else [])


def test_overlay_of_the_manifests_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    own = tmp_path / "home"
    own.mkdir()
    (own / "kustomization.yaml").touch()
    for valid in ("split", "combined", "example", str(own), "~/home"):
        report = Report()
        paths.check(board(tmp_path, manifests_overlay=valid), report)
        assert not [text for text in texts(report) if "manifests_overlay" in text]
    for wrong, remedy in (
        ("splt", "did you mean split?"),
        (
            f"{tmp_path}/hom",
            "use combined or example or hub or lite or split or the full path of a directory with an overlay",
        ),
    ):
        report = Report()
        paths.check(board(tmp_path, manifests_overlay=wrong), report)
        folder = ROOT / "k8s" / "overlays" / wrong
        assert f"all.yml: manifests_overlay = {wrong}: {folder} has no kustomization.yaml; {remedy}" in texts(report)
    # Roles compare the name, so it has one form.
    for odd, plain in (
        ("hub/", "hub"),
        ("./hub", "hub"),
        ("split/../hub", "hub"),
        ("../overlays/lite", "lite"),
        (f"{ROOT}/k8s/overlays/lite", "lite"),
        (f"{own}/", str(own)),
        ("~//home", "~/home"),
    ):
        report = Report()
        paths.check(board(tmp_path, manifests_overlay=odd), report)
        problem = "not written as the name of an overlay, or as a plain path"
        assert f"all.yml: manifests_overlay = {odd}: {problem}; write {plain}" in texts(report)
    # A tree of one's own has its own overlays.
    (tmp_path / "overlays" / "mine").mkdir(parents=True)
    report = Report()
    paths.check(board(tmp_path, manifests_overlay="min", manifests_source=str(tmp_path)), report)
    assert texts(report)[0].endswith("/overlays/min has no kustomization.yaml; did you mean mine?")


def test_certificate_of_the_ingress_has_its_key(tmp_path: Path) -> None:
    pair = {name: (tmp_path / f"{name}.crt", tmp_path / f"{name}.key") for name in ("one", "two")}
    for crt, key in pair.values():
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-subj", "/CN=x", "-out", str(crt), "-keyout", str(key)], check=True, capture_output=True,
        )  # fmt: skip
    (crt, key), (_, other) = pair["one"], pair["two"]
    for variables, problem in (
        ({"manifests_tls_key_file": str(key)}, ""),
        ({}, "has no key"),
        ({"manifests_tls_key_file": str(other)}, f"{other} is the key of another certificate"),
        ({"manifests_tls_key_file": f"{tmp_path}/none"}, f"{tmp_path}/none cannot be read: No such file or directory"),
        ({"manifests_tls_key_file": str(crt)}, f"{crt} and {crt} cannot be used: "),
    ):
        report = Report()
        paths.check(board(tmp_path, manifests_tls_certificate_file=str(crt), **variables), report)
        found = [text for text in texts(report) if "manifests_tls_certificate_file" in text]
        assert bool(found) == bool(problem), found
        assert all(f"manifests_tls_certificate_file = {crt}: {problem}" in text for text in found), found


def test_a_kubeconfig_of_the_user_s_own_is_not_replaced(tmp_path: Path) -> None:
    def found(path: Path) -> list[str]:
        report = Report()
        paths.check(board(tmp_path, k3s_kubeconfig=str(path)), report)
        return [text.partition(": ")[2] for text in texts(report) if "kubeconfig" in text]

    own = tmp_path / "config"
    assert found(own) == []
    own.write_text("apiVersion: v1\n")
    assert found(own) == [
        f"k3s_kubeconfig = {own}: there is another kubeconfig, which this cluster's would replace; "
        "write the path of a new file; KUBECONFIG=FILE:FILE names both"
    ]
    own.write_text("# Fetched by the k3s role: home at 192.0.2.11\napiVersion: v1\n")
    assert found(own) == []
    assert ["there is no directory" in text for text in found(tmp_path / "kube" / "config")] == [True]
    assert found(tmp_path / "secrets" / "kubeconfig") == []
