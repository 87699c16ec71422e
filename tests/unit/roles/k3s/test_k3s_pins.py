"""Pinned digests of the default k3s release."""

from __future__ import annotations

import re

import yaml

from tests.support.paths import ROOT

ROLE = ROOT / "roles" / "k3s"
ASSETS = {"k3s", "k3s-arm64", "k3s-airgap-images-amd64.tar.zst", "k3s-airgap-images-arm64.tar.zst"}


def test_default_version_is_pinned_for_both_architectures() -> None:
    pins = yaml.safe_load((ROLE / "vars/main.yml").read_text())["_k3s_pins"]
    version = yaml.safe_load((ROLE / "defaults/main.yml").read_text())["k3s_version"]
    assert set(pins[version]) == ASSETS
    assert len(set(pins[version].values())) == len(ASSETS)
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in pins[version].values())
